"""MotionCtrl's paths: a JSON list with twelve numbers a frame, the upper three rows of world to camera.

Wang et al. (2024), as in the files of the published code; the format says no times and no lens.
"""

import json
from pathlib import Path

import numpy as np

from melies.camera.formats.fields import matrix_of, read_json
from melies.camera.formats.kitti import poses_of
from melies.camera.formats.rows import MAX_ROWS
from melies.camera.path import CameraPath, at_frame_rate
from melies.errors import UserError
from melies.geometry import inverse


def write(path: CameraPath) -> bytes:
    """A list of lists of twelve."""
    rows = inverse(path.world_from_camera)[:, :3].reshape(-1, 12)
    return (json.dumps(rows.tolist()) + "\n").encode()


def read(file: Path, fps: float) -> CameraPath:
    """The path in a file, `fps` frames a second."""
    document = read_json(file)
    if not isinstance(document, list) or not document or len(document) > MAX_ROWS:
        raise UserError("there is no list of poses in it", where=str(file))
    rows = np.stack([matrix_of(row, (12,), where=f"{file}: [{index}]") for index, row in enumerate(document)])
    return at_frame_rate(inverse(poses_of(rows)), fps)
