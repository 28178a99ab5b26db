"""COLMAP's text model: a folder with `cameras.txt`, `images.txt` and `points3D.txt`; world to camera.

Schönberger & Frahm (2016), and the description of the format in COLMAP's manual. The model says no times:
frames go by the names of their pictures. What a lens does beside its focal length and centre is left out.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy import ndarray

from melies.camera.formats.rows import LIMIT, MAX_ROWS
from melies.camera.path import CameraPath, at_frame_rate, lens_of
from melies.errors import UserError, choose
from melies.files import read_text
from melies.geometry import inverse, pose_of, quaternion_from_rotation, rotation_from_quaternion

HEIGHT_PX = 1080
FOCAL_AND_CENTRE: Mapping[str, tuple[int, int, int, int]] = {
    "SIMPLE_PINHOLE": (0, 0, 1, 2),
    "SIMPLE_RADIAL": (0, 0, 1, 2),
    "SIMPLE_RADIAL_FISHEYE": (0, 0, 1, 2),
    "RADIAL": (0, 0, 1, 2),
    "RADIAL_FISHEYE": (0, 0, 1, 2),
    "PINHOLE": (0, 1, 2, 3),
    "OPENCV": (0, 1, 2, 3),
    "OPENCV_FISHEYE": (0, 1, 2, 3),
    "FULL_OPENCV": (0, 1, 2, 3),
    "FOV": (0, 1, 2, 3),
    "THIN_PRISM_FISHEYE": (0, 1, 2, 3),
}
"""Model → where fx, fy, cx and cy are among its parameters."""


def write(path: CameraPath) -> dict[str, bytes]:
    """The three files by their names."""
    lens, aspect = lens_of(path)
    w, h = round(HEIGHT_PX * aspect), HEIGHT_PX
    pixels = (lens * [w, h, w, h]).tolist()
    which = {tuple(one): number for number, one in enumerate(dict.fromkeys(map(tuple, pixels)), start=1)}
    cameras = ["# CAMERA_ID MODEL WIDTH HEIGHT FX FY CX CY"]
    cameras += [f"{number} PINHOLE {w} {h} {' '.join(map(repr, one))}" for one, number in which.items()]
    there = inverse(path.world_from_camera)
    quaternion = np.roll(quaternion_from_rotation(there[:, :3, :3]), 1, axis=1).tolist()
    images = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then a line of points, which is empty"]
    for index, (q, t, one) in enumerate(zip(quaternion, there[:, :3, 3].tolist(), pixels, strict=True), 1):
        numbers = " ".join(map(repr, [*q, *t]))
        images += [f"{index} {numbers} {which[tuple(one)]} frame_{index:06d}.png", ""]
    files = {"cameras.txt": cameras, "images.txt": images, "points3D.txt": ["# no points"]}
    return {name: ("\n".join(lines) + "\n").encode() for name, lines in files.items()}


def read(file: Path, fps: float) -> CameraPath:
    """The path of a model: its folder, or its `images.txt`; `fps` frames a second, in the order of names."""
    folder = file if file.is_dir() else file.parent
    cameras = _cameras(folder / "cameras.txt")
    source = folder / "images.txt"
    found: list[tuple[str, list[float], int]] = []
    pose_line = True
    for number, line in enumerate(read_text(source, limit=LIMIT).splitlines(), start=1):
        if line.startswith("#"):
            continue
        if not pose_line:  # the points of the image before: they may be none
            pose_line = True
            continue
        if not line.strip():
            continue
        cells = line.split(maxsplit=9)
        try:
            numbers, camera = [float(cell) for cell in cells[1:8]], int(cells[8])
            name = cells[9]
        except (ValueError, IndexError):
            raise UserError(f"line {number} is no image", where=str(source)) from None
        if camera not in cameras:
            raise UserError(f"line {number}: there is no camera {camera} in cameras.txt", where=str(source))
        found.append((name.strip(), numbers, camera))
        if len(found) > MAX_ROWS:
            raise UserError(f"more than {MAX_ROWS:,} images", where=str(source))
        pose_line = False
    if not found:
        raise UserError("there is no image in it", where=str(source))
    found.sort(key=lambda image: _natural(image[0]))
    numbers = np.array([one for _, one, _ in found])
    rotation = rotation_from_quaternion(np.roll(numbers[:, :4], -1, axis=1))
    lens = np.stack([cameras[camera][0] for _, _, camera in found])
    return at_frame_rate(
        inverse(pose_of(rotation, numbers[:, 4:])), fps, lens=lens, aspect=cameras[found[0][2]][1]
    )


def _cameras(file: Path) -> dict[int, tuple[ndarray, float]]:
    """Number → lens in shares of the picture, and aspect."""
    cameras = {}
    for number, line in enumerate(read_text(file, limit=LIMIT).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        where = f"{file}: line {number}"
        cells = line.split()
        try:
            key, model, w, h = int(cells[0]), cells[1], int(cells[2]), int(cells[3])
            numbers = [float(cell) for cell in cells[4:]]
        except (ValueError, IndexError):
            raise UserError("no camera", where=where) from None
        at = choose(model, FOCAL_AND_CENTRE, f"camera model in {where}")
        if len(numbers) <= max(at) or w <= 0 or h <= 0:
            raise UserError("a camera without its numbers", where=where)
        cameras[key] = (np.array([numbers[i] for i in at]) / [w, h, w, h], w / h)
    return cameras


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key by which frame 10 comes after frame 9."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d{1,18})", name)
    ]
