"""Which way axes point, in files of others: of the camera, and of the world that it stands in."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from melies.errors import UserError, choose

AXES: Mapping[str, tuple[tuple[int, int, int], ...]] = {
    "opencv": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "opengl": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "z-up": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "ros": ((0, 0, 1), (-1, 0, 0), (0, -1, 0)),
    "imu": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "unity": ((1, 0, 0), (0, -1, 0), (0, 0, 1)),
    "unreal": ((0, 0, 1), (1, 0, 0), (0, -1, 0)),
}
"""Name → what each of its axes is in right, down and forward; `WHAT` says it in words."""

WHAT: Mapping[str, str] = {
    "opencv": "x right, y down, z forward",
    "opengl": "x right, y up, z backward (glTF, USD, Maya)",
    "z-up": "x right, y forward, z up (the world of Blender)",
    "ros": "x forward, y left, z up",
    "imu": "x up, y right, z forward (the sensor of EuRoC)",
    "unity": "x right, y up, z forward; left-handed",
    "unreal": "x forward, y right, z up; left-handed",
}


def into_axes(
    world_from_camera: Float64[ndarray, "n 4 4"], *, camera: str, world: str, unit: float = 1.0
) -> Float64[ndarray, "n 4 4"]:
    """Poses of OpenCV axes and metres as others write them.

    Args:
        world_from_camera: Poses, metres.
        camera: A name in `AXES`, of the camera's own axes.
        world: The same of the world's.
        unit: Metres of one unit there.

    Raises:
        UserError: If only one of the two is left-handed, so that no rotation leads from one to the other.
    """
    camera_there, world_there = _both(camera, world)
    poses = world_from_camera.copy()
    poses[:, :3, :3] = world_there @ poses[:, :3, :3] @ camera_there.T
    poses[:, :3, 3] = poses[:, :3, 3] @ world_there.T / unit
    return poses


def from_axes(
    there: Float64[ndarray, "n 4 4"], *, camera: str, world: str, unit: float = 1.0
) -> Float64[ndarray, "n 4 4"]:
    """Poses as others write them in OpenCV axes and metres; the arguments are those of `into_axes`."""
    camera_there, world_there = _both(camera, world)
    poses = there.copy()
    poses[:, :3, :3] = world_there.T @ poses[:, :3, :3] @ camera_there
    poses[:, :3, 3] = unit * poses[:, :3, 3] @ world_there
    return poses


def _both(camera: str, world: str) -> tuple[ndarray, ndarray]:
    found = [
        np.array(choose(name, AXES, what), np.float64)
        for name, what in ((camera, "axes of the camera"), (world, "axes of the world"))
    ]
    if np.linalg.det(found[0]) * np.linalg.det(found[1]) < 0:
        raise UserError(
            f"of {camera!r} for the camera and {world!r} for the world one is left-handed",
            remedy="give two that are both right-handed, or both left-handed",
        )
    return found[0], found[1]
