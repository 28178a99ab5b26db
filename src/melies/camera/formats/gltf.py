"""glTF 2.0: an animated camera node, and the way of any node (its root may be a character).

Cameras look along −z with y up, in metres and seconds; numbers are float32. A lens that changes is animated
by the extension KHR_animation_pointer; its centre is always that of the picture.
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from melies.camera.formats.rows import LIMIT, MAX_ROWS
from melies.camera.path import CameraPath, lens_of
from melies.errors import UserError
from melies.geometry import interpolate, pose_of, quaternion_from_rotation, rotation_from_quaternion
from melies.optional import require

FLOAT = 5126
KINDS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}
POINTER = "/cameras/0/perspective/yfov"


class Track(NamedTuple):
    """The values of a channel at its key frames."""

    times: Float64[ndarray, " k"]
    values: Float64[ndarray, "k d"]
    stepped: bool


def write(path: CameraPath) -> bytes:
    """A document with its numbers in it."""
    gltf = require("pygltflib", extra="camera", why="glTF")
    lens, aspect = lens_of(path)
    rotation = quaternion_from_rotation(path.world_from_camera[:, :3, :3])
    turned = np.sign((rotation[1:] * rotation[:-1]).sum(1))
    rotation[1:] *= np.cumprod(np.where(turned == 0, 1, turned))[:, None]  # the short way from key to key
    yfov = 2 * np.arctan(0.5 / lens[:, 1])
    tracks = [(path.times - min(path.times[0], 0.0), "SCALAR"), (path.position, "VEC3"), (rotation, "VEC4")]
    channels = ["translation", "rotation"]
    if (yfov != yfov[0]).any():
        tracks.append((yfov, "SCALAR"))
        channels.append("pointer")
    data = [np.ascontiguousarray(values, "<f4").tobytes() for values, _ in tracks]
    starts = np.cumsum([0, *map(len, data)])
    document = gltf.GLTF2(
        asset=gltf.Asset(version="2.0", generator="melies"),
        scene=0,
        scenes=[gltf.Scene(nodes=[0])],
        nodes=[gltf.Node(name="Camera", camera=0)],
        cameras=[
            gltf.Camera(
                type="perspective",
                perspective=gltf.Perspective(yfov=float(yfov[0]), aspectRatio=float(aspect), znear=0.01),
            )
        ],
        animations=[
            gltf.Animation(
                name="Camera",
                samplers=[
                    gltf.AnimationSampler(input=0, output=index, interpolation="LINEAR")
                    for index in range(1, len(tracks))
                ],
                channels=[
                    gltf.AnimationChannel(sampler=index, target=_target(gltf, name))
                    for index, name in enumerate(channels)
                ],
            )
        ],
        extensionsUsed=["KHR_animation_pointer"] if "pointer" in channels else [],
        accessors=[
            gltf.Accessor(
                bufferView=index,
                componentType=FLOAT,
                count=len(path),
                type=kind,
                min=[float(np.float32(values.min()))] if index == 0 else None,
                max=[float(np.float32(values.max()))] if index == 0 else None,
            )
            for index, (values, kind) in enumerate(tracks)
        ],
        bufferViews=[
            gltf.BufferView(buffer=0, byteOffset=int(start), byteLength=len(part))
            for start, part in zip(starts, data, strict=False)
        ],
        buffers=[gltf.Buffer(byteLength=int(starts[-1]))],
    )
    document.set_binary_blob(b"".join(data))
    document.convert_buffers(gltf.BufferFormat.DATAURI)
    return (document.to_json() + "\n").encode()


def read(file: Path, fps: float) -> CameraPath:
    """The path of the first camera node."""
    document = open_document(file)
    found = [index for index, node in enumerate(document.nodes) if node.camera is not None]
    if not found:
        raise UserError("there is no camera in it", where=str(file))
    times, poses = node_path(document, found[0], where=str(file))
    number = document.nodes[found[0]].camera
    cameras = document.cameras or []
    lens = cameras[number].perspective if 0 <= number < len(cameras) else None
    if lens is None or not lens.yfov or not 0 < lens.yfov < np.pi:
        return CameraPath(world_from_camera=poses, times=times)
    yfov = np.full(len(times), float(lens.yfov))
    for animation in document.animations or []:
        for channel in animation.channels:
            told = (channel.target.extensions or {}).get("KHR_animation_pointer", {})
            if told.get("pointer") == f"/cameras/{number}/perspective/yfov":
                track = _track(document, animation.samplers[channel.sampler], 1, str(file))
                yfov = np.interp(times, track.times, track.values[:, 0])
    aspect = float(lens.aspectRatio) if lens.aspectRatio else None
    focal = 0.5 / np.tan(yfov / 2)
    if aspect is None:
        return CameraPath(world_from_camera=poses, times=times)
    half = np.full(len(times), 0.5)
    return CameraPath(
        world_from_camera=poses,
        times=times,
        lens=np.stack([focal / aspect, focal, half, half], axis=1),
        aspect=aspect,
    )


def open_document(file: Path) -> Any:
    """A document, `.gltf` with its numbers in it or beside it, or `.glb`.

    Raises:
        UserError: If it cannot be read, is too large, or is no glTF.
    """
    gltf = require("pygltflib", extra="camera", why="glTF")
    if not file.is_file():
        raise UserError("there is no such file", where=str(file))
    if file.stat().st_size > 4 * LIMIT:
        raise UserError(f"larger than {4 * LIMIT / 2**20:g} MiB", where=str(file))
    try:
        document = gltf.GLTF2().load(str(file))
        if document is None or not isinstance(document.nodes, list):
            raise UserError("no glTF", where=str(file))
    except UserError:
        raise
    except Exception as error:  # of whatever the document is not
        raise UserError(f"no glTF: {error}", where=str(file)) from None
    return document


def moving_node(document: Any, name: str, *, where: str) -> int:
    """The node of a name, or if it is empty the first whose place is animated.

    Raises:
        UserError: If there is none; those that there are are named.
    """
    nodes = document.nodes
    if name:
        found = [index for index, node in enumerate(nodes) if node.name == name]
    else:
        found = [
            channel.target.node
            for animation in document.animations or []
            for channel in animation.channels
            if channel.target.path == "translation" and channel.target.node is not None
        ]
    if not found or not 0 <= found[0] < len(nodes):
        known = ", ".join(str(node.name) for node in nodes[:20] if node.name)
        raise UserError(
            f"there is no node {name!r}" if name else "no node moves in it",
            where=where,
            remedy=f"name one of: {known}" if known else "",
        )
    return found[0]


def node_path(
    document: Any, index: int, *, where: str
) -> tuple[Float64[ndarray, " n"], Float64[ndarray, "n 4 4"]]:
    """Times and poses in the world of a node: at every key frame of it and of what it hangs on.

    Raises:
        UserError: If the document is not in order.
    """
    try:
        chain = _chain(document, index)
        tracks = _tracks(document, set(chain), where)
        keys = [track.times for of_node in tracks.values() for track in of_node.values()]
        times = np.unique(np.concatenate(keys)) if keys else np.zeros(1)
        if len(times) > MAX_ROWS:
            raise UserError(f"more than {MAX_ROWS:,} frames", where=where)
        poses = np.broadcast_to(np.eye(4), (len(times), 4, 4))
        for node in chain:
            poses = poses @ _local(document.nodes[node], tracks.get(node, {}), times)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise UserError(f"no glTF in order: {error}", where=where) from None
    scale = np.linalg.norm(poses[:, :3, :3], axis=1, keepdims=True)
    poses[:, :3, :3] /= np.where(scale > 0, scale, 1)
    return times, poses


def _target(gltf: Any, name: str) -> Any:
    if name != "pointer":
        return gltf.AnimationChannelTarget(node=0, path=name)
    return gltf.AnimationChannelTarget(
        path="pointer", extensions={"KHR_animation_pointer": {"pointer": POINTER}}
    )


def _chain(document: Any, index: int) -> list[int]:
    """Nodes from the root to this one."""
    above = {child: parent for parent, node in enumerate(document.nodes) for child in node.children or []}
    chain = [index]
    while chain[0] in above:
        if above[chain[0]] in chain:
            raise ValueError("a node hangs on itself")
        chain.insert(0, above[chain[0]])
    return chain


def _tracks(document: Any, nodes: set[int], where: str) -> Mapping[int, dict[str, Track]]:
    found: dict[int, dict[str, Track]] = {}
    for animation in document.animations or []:
        for channel in animation.channels:
            node, path = channel.target.node, channel.target.path
            if node in nodes and path in ("translation", "rotation", "scale"):
                width = 4 if path == "rotation" else 3
                track = _track(document, animation.samplers[channel.sampler], width, where)
                found.setdefault(node, {})[path] = track
    return found


def _track(document: Any, sampler: Any, width: int, where: str) -> Track:
    times, values = _numbers(document, sampler.input)[:, 0], _numbers(document, sampler.output)
    if sampler.interpolation == "CUBICSPLINE":  # in-tangent, value and out-tangent of each key
        values = values.reshape(-1, 3, values.shape[1])[:, 1]
    if len(times) != len(values) or values.shape[1] != width or not (np.diff(times) > 0).all():
        raise UserError("an animation whose times and values do not go together", where=where)
    return Track(times, values, sampler.interpolation == "STEP")


def _numbers(document: Any, index: int) -> Float64[ndarray, "n d"]:
    """The values of an accessor of floats."""
    accessor = document.accessors[index]
    if accessor.componentType != FLOAT or accessor.sparse is not None or accessor.bufferView is None:
        raise ValueError("only plain numbers of 32 bits are read in animations")
    if not 0 < accessor.count <= MAX_ROWS:
        raise ValueError(f"{accessor.count} key frames")
    view, width = document.bufferViews[accessor.bufferView], KINDS[accessor.type]
    data = (
        document.get_data_from_buffer_uri(document.buffers[view.buffer].uri)
        if (document.buffers[view.buffer].uri)
        else document.binary_blob()
    )
    start, stride = (view.byteOffset or 0) + (accessor.byteOffset or 0), view.byteStride or 4 * width
    rows = [
        np.frombuffer(data, "<f4", count=width, offset=start + stride * row) for row in range(accessor.count)
    ]
    return np.stack(rows).astype(np.float64)


def _local(node: Any, tracks: Mapping[str, Track], times: ndarray) -> ndarray:
    """(n, 4, 4) of the node in what it hangs on."""
    if node.matrix is not None and not tracks:
        return np.broadcast_to(np.array(node.matrix, np.float64).reshape(4, 4).T, (len(times), 4, 4))
    at = {
        "translation": node.translation or [0.0, 0.0, 0.0],
        "rotation": node.rotation or [0.0, 0.0, 0.0, 1.0],
        "scale": node.scale or [1.0, 1.0, 1.0],
    }
    values = {
        name: _sampled(tracks[name], times, turns=name == "rotation")
        if name in tracks
        else np.tile(np.array(still, np.float64), (len(times), 1))
        for name, still in at.items()
    }
    rotation = rotation_from_quaternion(values["rotation"])
    return pose_of(rotation * values["scale"][:, None, :], values["translation"])


def _sampled(track: Track, times: ndarray, *, turns: bool) -> ndarray:
    if track.stepped:
        return track.values[np.clip(np.searchsorted(track.times, times, side="right") - 1, 0, None)]
    if not turns:
        columns = [np.interp(times, track.times, column) for column in track.values.T]
        return np.stack(columns, axis=1)
    if len(track.times) == 1:
        return np.repeat(track.values, len(times), axis=0)
    poses = pose_of(rotation_from_quaternion(track.values), np.zeros((len(track.times), 3)))
    inside = np.clip(times, track.times[0], track.times[-1])
    return quaternion_from_rotation(interpolate(poses, track.times, inside)[:, :3, :3])
