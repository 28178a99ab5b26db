"""The trajectory format of TUM: time (s), position, quaternion x y z w; camera to world.

Sturm et al. (2012); the format says no lens.
"""

from pathlib import Path

import numpy as np

from melies.camera.formats.rows import LIMIT, lines_of, read_rows
from melies.camera.path import CameraPath
from melies.files import read_text
from melies.geometry import pose_of, quaternion_from_rotation, rotation_from_quaternion


def write(path: CameraPath) -> bytes:
    """Eight numbers a line, all their digits."""
    quaternion = quaternion_from_rotation(path.world_from_camera[:, :3, :3])
    rows = np.concatenate([path.times[:, None], path.position, quaternion], axis=1)
    return ("# time tx ty tz qx qy qz qw\n" + lines_of(rows)).encode()


def read(file: Path, fps: float) -> CameraPath:
    """The path in a file, at its own times."""
    rows = read_rows(read_text(file, limit=LIMIT), (8,), where=str(file))
    return CameraPath(
        world_from_camera=pose_of(rotation_from_quaternion(rows[:, 4:]), rows[:, 1:4]), times=rows[:, 0]
    )
