"""Rerun's recordings: the camera as a pinhole that moves over a timeline of seconds.

Positions, rotations and lenses are float32 there; what is written looks along z with y down.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from melies.camera.formats.rows import LIMIT, MAX_ROWS
from melies.camera.path import CameraPath, lens_of
from melies.errors import UserError
from melies.geometry import rotation_from_quaternion
from melies.optional import require

ENTITY = "world/camera"
TIMELINE = "time"
HEIGHT_PX = 1080.0


def write(path: CameraPath) -> bytes:
    """A recording of the path, as a line and as a camera that runs along it."""
    rr = require("rerun", extra="view", why="recordings of rerun")
    lens, aspect = lens_of(path)
    w, h = HEIGHT_PX * aspect, HEIGHT_PX
    pixels = lens * [w, h, w, h]
    image_from_camera = np.zeros((len(path), 3, 3))
    image_from_camera[:, 0, 0], image_from_camera[:, 1, 1] = pixels[:, 0], pixels[:, 1]
    image_from_camera[:, 0, 2], image_from_camera[:, 1, 2] = pixels[:, 2], pixels[:, 3]
    image_from_camera[:, 2, 2] = 1
    times = [rr.TimeColumn(TIMELINE, duration=path.times)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "path.rrd"
        recording = rr.RecordingStream("melies", recording_id="path")
        recording.save(str(file))
        recording.log("world", rr.ViewCoordinates.RIGHT_HAND_Y_DOWN, static=True)
        recording.log("world/path", rr.LineStrips3D([path.position]), static=True)
        recording.log(ENTITY, rr.ViewCoordinates.RDF, static=True)
        turned = path.world_from_camera[:, :3, :3]
        columns = rr.Transform3D.columns(translation=path.position, mat3x3=turned)
        recording.send_columns(ENTITY, indexes=times, columns=columns)
        size = np.tile([w, h], (len(path), 1))
        columns = rr.Pinhole.columns(image_from_camera=image_from_camera, resolution=size)
        recording.send_columns(ENTITY, indexes=times, columns=columns)
        recording.disconnect()
        return file.read_bytes()


def read(file: Path, fps: float) -> CameraPath:
    """The path of the entity with the most poses; without a timeline of times, `fps` poses a second."""
    require("rerun", extra="view", why="recordings of rerun")
    if not file.is_file():
        raise UserError("there is no such file", where=str(file))
    if file.stat().st_size > 4 * LIMIT:
        raise UserError(f"larger than {4 * LIMIT / 2**20:g} MiB", where=str(file))
    try:
        chunks = list(_chunks(file))
    except Exception as error:  # of whatever the recording is not
        raise UserError(f"no recording: {str(error).splitlines()[0][:120]}", where=str(file)) from None
    entities: dict[str, dict[str, dict[float, ndarray]]] = {}
    for entity, times, columns in chunks:
        kept = entities.setdefault(entity, {})
        for name, rows in columns.items():
            for index, row in enumerate(rows):
                if row is not None:
                    time = times[index] if times is not None else index / fps
                    kept.setdefault(name, {})[time] = row
    moving = {name: kept for name, kept in entities.items() if "Transform3D:translation" in kept}
    if not moving:
        raise UserError("nothing moves in it", where=str(file))
    kept = max(moving.values(), key=lambda one: len(one["Transform3D:translation"]))
    times = sorted(kept["Transform3D:translation"])
    if len(times) > MAX_ROWS:
        raise UserError(f"more than {MAX_ROWS:,} frames", where=str(file))
    poses = np.tile(np.eye(4), (len(times), 1, 1))
    poses[:, :3, 3] = _at(kept["Transform3D:translation"], times)
    if "Transform3D:mat3x3" in kept:
        # Matrices are column by column there.
        poses[:, :3, :3] = np.swapaxes(_at(kept["Transform3D:mat3x3"], times).reshape(-1, 3, 3), 1, 2)
    elif "Transform3D:quaternion" in kept:
        poses[:, :3, :3] = rotation_from_quaternion(_at(kept["Transform3D:quaternion"], times))
    fields = _lens(kept, times) if {"Pinhole:image_from_camera", "Pinhole:resolution"} <= kept.keys() else {}
    return CameraPath(world_from_camera=poses, times=np.array(times), **fields)


def _chunks(file: Path):
    """(entity, seconds of each row or None, component → values of each row)."""
    from rerun.chunk import RrdReader

    for chunk in RrdReader(str(file)).stream():
        batch = chunk.to_record_batch()
        names = batch.schema.names
        if TIMELINE in names:
            ticks = batch.column(TIMELINE).cast("int64").to_numpy(zero_copy_only=False)
            times: list[float] | None = (ticks * 1e-9).tolist()
        else:
            times = None
        wanted = [name for name in names if name.startswith(("Transform3D:", "Pinhole:"))]
        columns: dict[str, list[ndarray | None]] = {}
        for name in wanted:
            rows = batch.column(name).to_pylist()
            columns[name] = [None if not row else np.array(row[0], np.float64) for row in rows]
        yield str(chunk.entity_path), times, columns


def _at(rows: dict[float, ndarray], times: list[float]) -> ndarray:
    """The rows of these times; what is not said again stays as it was."""
    known = sorted(rows)
    at = np.clip(np.searchsorted(known, times, side="right") - 1, 0, None)
    return np.stack([rows[known[index]] for index in at])


def _lens(kept: dict[str, dict[float, ndarray]], times: list[float]) -> dict[str, Any]:
    matrix, size = _at(kept["Pinhole:image_from_camera"], times), _at(kept["Pinhole:resolution"], times)
    w, h = size.T
    fx, fy, cx, cy = matrix[:, 0], matrix[:, 4], matrix[:, 6], matrix[:, 7]
    return {"lens": np.stack([fx / w, fy / h, cx / w, cy / h], axis=1), "aspect": float(w[0] / h[0])}
