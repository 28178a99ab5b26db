"""What nerfstudio and its kin read: `transforms.json` of a set of pictures, and the path of a rendering.

Both have camera to world with OpenGL's axes of the camera. The first says no times; the second no centre of
the lens, and one field of view from top to bottom per frame.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from melies.camera.formats.fields import items_of, json_bytes, matrix_of, number_of, read_json
from melies.camera.path import CameraPath, at_frame_rate, lens_of
from melies.errors import UserError

HEIGHT_PX = 1080
"""Of the pictures that a path is written for."""
LENS = frozenset({"w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y"})
"""Fields that say something of the lens, of a set or of one of its pictures."""


def write_transforms(path: CameraPath) -> bytes:
    """`transforms.json`: lens and size of the picture, and a matrix for each."""
    lens, aspect = lens_of(path)
    w, h = round(HEIGHT_PX * aspect), HEIGHT_PX
    pixels = lens * [w, h, w, h]
    names = ("fl_x", "fl_y", "cx", "cy")
    alike = bool((pixels == pixels[0]).all())
    document: dict[str, Any] = {"camera_model": "OPENCV", "w": w, "h": h}
    if alike:
        document |= dict(zip(names, pixels[0].tolist(), strict=True))
    frames = [
        {
            "file_path": f"images/frame_{index:05d}.png",
            **({} if alike else dict(zip(names, one.tolist(), strict=True))),
            "transform_matrix": pose,
        }
        for index, (pose, one) in enumerate(
            zip(np.ascontiguousarray(path.world_from_camera), pixels, strict=True), start=1
        )
    ]
    return json_bytes(document, "frames", frames)


def read_transforms(file: Path, fps: float) -> CameraPath:
    """The path of a set of pictures, in the order in which they are listed."""
    document = read_json(file)
    frames = items_of(document, "frames", where=str(file))
    poses, lenses, aspects = _poses(frames, "transform_matrix", where=f"{file}: frames"), [], []
    shared = _lens(document, where=str(file))
    for index, frame in enumerate(frames):
        own = not LENS.isdisjoint(frame)
        lens, aspect = _lens({**document, **frame}, where=f"{file}: frames[{index}]") if own else shared
        lenses.append(lens)
        aspects.append(aspect)
    if any(lens is None for lens in lenses):
        return at_frame_rate(poses, fps)
    return at_frame_rate(poses, fps, lens=np.stack(lenses), aspect=aspects[0])


def write_rendering(path: CameraPath) -> bytes:
    """The path of a rendering: a matrix, a field of view and an aspect for each frame."""
    lens, aspect = lens_of(path)
    fov = np.rad2deg(2 * np.arctan(0.5 / lens[:, 1]))
    document = {
        "camera_type": "perspective",
        "render_height": HEIGHT_PX,
        "render_width": round(HEIGHT_PX * aspect),
        "fps": path.fps,
        "seconds": len(path) / path.fps,
        "smoothness_value": 0,
        "is_cycle": False,
        "crop": None,
        "keyframes": [],
    }
    frames = [
        {"camera_to_world": pose.ravel(), "fov": angle, "aspect": aspect}
        for pose, angle in zip(path.world_from_camera, fov.tolist(), strict=True)
    ]
    return json_bytes(document, "camera_path", frames)


def read_rendering(file: Path, fps: float) -> CameraPath:
    """The path of a rendering; where it says no frames a second, `fps`."""
    document = read_json(file)
    frames = items_of(document, "camera_path", where=str(file))
    poses, lenses = _poses(frames, "camera_to_world", where=f"{file}: camera_path"), []
    aspect = number_of(frames[0], "aspect", where=f"{file}: camera_path[0]")
    for index, frame in enumerate(frames):
        where = f"{file}: camera_path[{index}]"
        fov = number_of(frame, "fov", where=where)
        if fov is not None and not 0 < fov < 180:
            raise UserError(f"a field of view of {fov:g}°", where=where)
        if fov is not None and aspect is not None and aspect > 0:
            focal = 0.5 / math.tan(math.radians(fov) / 2)
            lenses.append([focal / aspect, focal, 0.5, 0.5])
    given = number_of(document, "fps", where=str(file))
    return at_frame_rate(
        poses,
        fps if given is None else given,
        lens=np.stack(lenses) if len(lenses) == len(poses) else None,
        aspect=aspect,
    )


def _poses(frames: Sequence[Mapping[str, Any]], name: str, *, where: str) -> ndarray:
    """The matrix of every frame: all at once if they are alike, else one by one, to say which is wrong."""
    values = [frame.get(name) for frame in frames]
    try:
        found = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        found = np.zeros(0)
    if found.shape[1:] in ((4, 4), (16,)) and np.isfinite(found).all():
        return found.reshape(-1, 4, 4)
    return np.stack([_pose(value, where=f"{where}[{index}].{name}") for index, value in enumerate(values)])


def _pose(value: Any, *, where: str) -> ndarray:
    if isinstance(value, list) and len(value) == 3:
        value = [*value, [0.0, 0.0, 0.0, 1.0]]
    return matrix_of(value, (4, 4), where=where)


def _lens(item: Mapping[str, Any], *, where: str) -> tuple[ndarray | None, float | None]:
    """The lens in shares of the picture, and its aspect; pictures whose size is not told are square."""
    numbers = {name: number_of(item, name, where=where) for name in sorted(LENS)}
    w, h = numbers["w"] or 1.0, numbers["h"] or 1.0
    if not (w > 0 and h > 0):
        raise UserError(f"a picture of {w:g} × {h:g}", where=where)
    fx = _focal(numbers["fl_x"], numbers["camera_angle_x"], w, where=where)
    fy = _focal(numbers["fl_y"], numbers["camera_angle_y"], h, where=where)
    fx, fy = fy if fx is None else fx, fx if fy is None else fy
    if fx is None or fy is None:
        return None, None
    cx = w / 2 if numbers["cx"] is None else numbers["cx"]
    cy = h / 2 if numbers["cy"] is None else numbers["cy"]
    return np.array([fx / w, fy / h, cx / w, cy / h]), w / h


def _focal(focal: float | None, angle: float | None, side: float, *, where: str) -> float | None:
    if focal is not None or angle is None:
        return focal
    if not 0 < angle < np.pi:
        raise UserError(f"a field of view of {angle:g} is no angle between 0 and π", where=where)
    return float(0.5 * side / np.tan(angle / 2))
