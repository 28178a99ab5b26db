"""The ground truth of EuRoC's flights: time (ns), position, quaternion w x y z; sensor to world.

Burri et al. (2016); the format says no lens. What has a pose there is the inertial sensor: it looks where the
camera does, turned by a quarter (to within two degrees, as its `sensor.yaml` says).
"""

from pathlib import Path

import numpy as np

from melies.camera.formats.rows import LIMIT, lines_of, read_rows
from melies.camera.path import CameraPath
from melies.files import read_text
from melies.geometry import pose_of, quaternion_from_rotation, rotation_from_quaternion

HEAD = "#timestamp [ns],p_RS_R_x [m],p_RS_R_y [m],p_RS_R_z [m],q_RS_w [],q_RS_x [],q_RS_y [],q_RS_z []\n"


def write(path: CameraPath) -> bytes:
    """Eight numbers a line; times to the nanosecond."""
    quaternion = np.roll(quaternion_from_rotation(path.world_from_camera[:, :3, :3]), 1, axis=1)
    rows = lines_of(np.concatenate([path.position, quaternion], axis=1), separator=",").splitlines()
    times = [round(time * 1e9) for time in path.times.tolist()]
    return (HEAD + "".join(f"{time},{row}\n" for time, row in zip(times, rows, strict=True))).encode()


def read(file: Path, fps: float) -> CameraPath:
    """The path in a file, at its own times; velocities and drifts behind the pose are left out."""
    rows = read_rows(read_text(file, limit=LIMIT), (8, 17), where=str(file))
    rotation = rotation_from_quaternion(np.roll(rows[:, 4:8], -1, axis=1))
    return CameraPath(world_from_camera=pose_of(rotation, rows[:, 1:4]), times=rows[:, 0] * 1e-9)
