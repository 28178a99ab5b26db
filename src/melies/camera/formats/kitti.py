"""KITTI's poses, as E.T. has them: the upper three rows of camera to world, twelve numbers a line.

Geiger et al. (2012); the format says no times and no lens.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from melies.camera.formats.rows import LIMIT, lines_of, read_rows
from melies.camera.path import CameraPath, at_frame_rate
from melies.files import read_text


def write(path: CameraPath) -> bytes:
    """Twelve numbers a line, all their digits."""
    return lines_of(path.world_from_camera[:, :3].reshape(-1, 12)).encode()


def read(file: Path, fps: float) -> CameraPath:
    """The path in a file, `fps` frames a second."""
    rows = read_rows(read_text(file, limit=LIMIT), (12,), where=str(file))
    return at_frame_rate(poses_of(rows), fps)


def poses_of(rows: Float64[ndarray, "n 12"]) -> Float64[ndarray, "n 4 4"]:
    """Matrices from their upper three rows."""
    poses = np.zeros((len(rows), 4, 4))
    poses[:, :3] = rows.reshape(-1, 3, 4)
    poses[:, 3, 3] = 1
    return poses
