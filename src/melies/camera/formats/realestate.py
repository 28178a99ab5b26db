"""RealEstate10K's paths: time (µs), lens in shares of the picture, two zeros, world to camera (3×4).

Zhou et al. (2018); the first line is the address of the video.
"""

from pathlib import Path

import numpy as np

from melies.camera.formats.kitti import poses_of
from melies.camera.formats.rows import LIMIT, lines_of, read_rows
from melies.camera.path import CameraPath, lens_of
from melies.errors import UserError
from melies.files import read_text
from melies.geometry import inverse

UNKNOWN = "video: unknown\n"


def write(path: CameraPath) -> bytes:
    """Nineteen numbers a line; times to the microsecond."""
    lens, _ = lens_of(path)
    there = inverse(path.world_from_camera)[:, :3].reshape(-1, 12)
    rows = lines_of(np.concatenate([lens, np.zeros((len(path), 2)), there], axis=1)).splitlines()
    times = [round(time * 1e6) for time in path.times.tolist()]
    return (UNKNOWN + "".join(f"{time} {row}\n" for time, row in zip(times, rows, strict=True))).encode()


def read(file: Path, fps: float) -> CameraPath:
    """The path in a file, at its own times."""
    first, _, rest = read_text(file, limit=LIMIT).partition("\n")
    if len(first.split()) == 19:
        raise UserError("the first line is numbers", where=str(file), remedy="put the video's address there")
    rows = read_rows(rest, (19,), where=str(file), first_line=2)
    return CameraPath(
        world_from_camera=inverse(poses_of(rows[:, 7:])), times=rows[:, 0] * 1e-6, lens=rows[:, 1:5]
    )
