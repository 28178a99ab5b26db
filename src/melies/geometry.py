"""Rotations and rigid motions in double precision: exponential, logarithm, quaternion, interpolation.

A pose is a matrix (4, 4) named `a_from_b`: it takes coordinates of b to coordinates of a, and frames cancel
in products, `a_from_c = a_from_b @ b_from_c`. Everything takes any number of leading axes.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

Rotation: TypeAlias = Float64[ndarray, "*batch 3 3"]
"""An orthonormal matrix of determinant 1."""

Pose: TypeAlias = Float64[ndarray, "*batch 4 4"]
"""A rotation, a translation and the last row (0, 0, 0, 1)."""

SMALL_ANGLE = 1e-2
"""Radians below which quotients of sines are taken by their series, which then has every digit."""


def cross_matrix(vector: Float64[ndarray, "*batch 3"]) -> Float64[ndarray, "*batch 3 3"]:
    """The matrix K with K @ u = vector × u."""
    x, y, z = np.moveaxis(vector, -1, 0)
    zero = np.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _angle(vector: Float64[ndarray, "*batch 3"]) -> tuple[ndarray, ndarray]:
    """Length (..., 1, 1) of a rotation vector, in radians, and the same kept away from 0."""
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    return angle, np.maximum(angle, SMALL_ANGLE)


def _versine_quotient(angle: ndarray, safe: ndarray) -> ndarray:
    """(1 − cos θ)/θ², by way of 2·sin²(θ/2), since 1 − cos θ loses its digits near 0."""
    series = 1 - angle**2 / 24 + angle**4 / 1920
    return 0.5 * np.where(angle < SMALL_ANGLE, series, np.sin(safe / 2) / (safe / 2)) ** 2


def exp_rotation(vector: Float64[ndarray, "*batch 3"]) -> Rotation:
    """The rotation by |vector| radians about `vector` (Rodrigues' formula)."""
    k = cross_matrix(vector)
    angle, safe = _angle(vector)
    square = angle**2
    first = np.where(angle < SMALL_ANGLE, 1 - square / 6 + square**2 / 120, np.sin(safe) / safe)
    second = _versine_quotient(angle, safe)
    return np.eye(3) + first * k + second * (k @ k)


def quaternion_from_rotation(rotation: Rotation) -> Float64[ndarray, "*batch 4"]:
    """Unit quaternion (x, y, z, w) with w at least 0.

    All four are found from the largest of them, which is never under 1/2 (Shepperd 1978).
    """
    r = rotation
    xx, yy, zz = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    x, y, z = r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]
    xy, yz, zx = r[..., 0, 1] + r[..., 1, 0], r[..., 1, 2] + r[..., 2, 1], r[..., 2, 0] + r[..., 0, 2]
    # Row i is 4·q_i·(x, y, z, w): every row is the quaternion but for its length.
    rows = [
        [1 + xx - yy - zz, xy, zx, x],
        [xy, 1 - xx + yy - zz, yz, y],
        [zx, yz, 1 - xx - yy + zz, z],
        [x, y, z, 1 + xx + yy + zz],
    ]
    products = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    largest = np.argmax(np.diagonal(products, axis1=-2, axis2=-1), axis=-1)
    quaternion = np.take_along_axis(products, largest[..., None, None], axis=-2)[..., 0, :]
    quaternion = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    return np.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def rotation_from_quaternion(quaternion: Float64[ndarray, "*batch 4"]) -> Rotation:
    """The rotation of a quaternion (x, y, z, w) of any length; one of length 0 gives what is not finite."""
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    k, w = cross_matrix(unit[..., :3]), unit[..., 3, None, None]
    return np.eye(3) + 2 * w * k + 2 * (k @ k)


def log_rotation(rotation: Rotation) -> Float64[ndarray, "*batch 3"]:
    """The rotation vector of at most π radians whose exponential this is; exact near 0 and near π."""
    quaternion = quaternion_from_rotation(rotation)
    sine = np.linalg.norm(quaternion[..., :3], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quaternion[..., 3:])
    return quaternion[..., :3] * np.where(sine > 0, angle / np.where(sine > 0, sine, 1), 2)


def nearest_rotation(matrix: Float64[ndarray, "*batch 3 3"]) -> Rotation:
    """The rotation with the smallest sum of squared differences from `matrix` (orthogonal Procrustes)."""
    left, _, right = np.linalg.svd(matrix)
    left[..., :, 2] *= np.sign(np.linalg.det(left @ right))[..., None]
    return left @ right


def rotation_looking(
    forward: Float64[ndarray, "*batch 3"], down: tuple[float, float, float] = (0.0, 1.0, 0.0)
) -> Rotation:
    """The camera that looks along `forward` with its x axis level: its y axis is as near to `down` as can be.

    Where `forward` is along `down` the x axis is any that fits.
    """
    z = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
    x = np.cross(np.broadcast_to(down, z.shape), z)
    level = np.linalg.norm(x, axis=-1, keepdims=True)
    other = np.cross(np.roll(z, 1, axis=-1), z)  # for a forward that says nothing of what is level
    x = np.where(
        level > 1e-9, x, np.where(np.abs(other).sum(-1, keepdims=True) > 1e-9, other, [1.0, 0.0, 0.0])
    )
    x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return np.stack([x, np.cross(z, x), z], axis=-1)


def angles_of(forward: Float64[ndarray, "*batch 3"]) -> tuple[ndarray, ndarray]:
    """Yaw to the right and pitch upwards, radians, of directions of any length."""
    x, y, z = np.moveaxis(forward, -1, 0)
    return np.arctan2(x, z), np.arctan2(-y, np.hypot(x, z))


def direction_of(yaw: ndarray | float, pitch: ndarray | float) -> Float64[ndarray, "*batch 3"]:
    """The unit vector of a yaw to the right and a pitch upwards, radians."""
    return np.stack([np.sin(yaw) * np.cos(pitch), -np.sin(pitch), np.cos(yaw) * np.cos(pitch)], axis=-1)


def six_from_rotation(rotation: Rotation) -> Float64[ndarray, "*batch 6"]:
    """The first two columns, which say all of a rotation without a jump (Zhou et al. 2019, §4.1)."""
    return np.concatenate([rotation[..., 0], rotation[..., 1]], axis=-1)


def rotation_from_six(six: Float64[ndarray, "*batch 6"]) -> Rotation:
    """The rotation whose first two columns are nearest in the order of Gram and Schmidt.

    The first column is kept in its direction; the second gives up what it shares with the first (Zhou et al.
    2019, eq. 15). Columns that are 0 or along one another give numbers that are not finite.
    """
    x = six[..., :3] / np.linalg.norm(six[..., :3], axis=-1, keepdims=True)
    y = six[..., 3:] - (x * six[..., 3:]).sum(-1, keepdims=True) * x
    y = y / np.linalg.norm(y, axis=-1, keepdims=True)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def pose_of(rotation: Rotation, translation: Float64[ndarray, "*batch 3"]) -> Pose:
    """The pose made of both."""
    pose = np.zeros((*rotation.shape[:-2], 4, 4))
    pose[..., :3, :3], pose[..., :3, 3], pose[..., 3, 3] = rotation, translation, 1
    return pose


def inverse(a_from_b: Pose) -> Pose:
    """`b_from_a`, with no system of equations solved."""
    back = np.swapaxes(a_from_b[..., :3, :3], -1, -2)
    return pose_of(back, -(back @ a_from_b[..., :3, 3:])[..., 0])


def exp_pose(twist: Float64[ndarray, "*batch 6"]) -> Pose:
    """Where one unit of time at constant `twist` leads: (velocity, angular velocity in radians)."""
    velocity, vector = twist[..., :3], twist[..., 3:]
    k = cross_matrix(vector)
    angle, safe = _angle(vector)
    square = angle**2
    first = _versine_quotient(angle, safe)
    second = np.where(
        angle < SMALL_ANGLE, 1 / 6 - square / 120 + square**2 / 5040, (safe - np.sin(safe)) / safe**3
    )
    average = np.eye(3) + first * k + second * (k @ k)
    return pose_of(exp_rotation(vector), (average @ velocity[..., None])[..., 0])


def log_pose(pose: Pose) -> Float64[ndarray, "*batch 6"]:
    """The constant (velocity, angular velocity) that leads to `pose` in one unit of time."""
    vector = log_rotation(pose[..., :3, :3])
    k = cross_matrix(vector)
    angle, safe = _angle(vector)
    square = angle**2
    second = np.where(
        angle < SMALL_ANGLE,
        1 / 12 + square / 720 + square**2 / 30240,
        (1 - safe / 2 / np.tan(safe / 2)) / safe**2,
    )
    back = np.eye(3) - 0.5 * k + second * (k @ k)
    return np.concatenate([(back @ pose[..., :3, 3:])[..., 0], vector], axis=-1)


def interpolate(
    poses: Float64[ndarray, "n 4 4"], times: Float64[ndarray, " n"], at: Float64[ndarray, " m"]
) -> Float64[ndarray, "m 4 4"]:
    """Poses at other times: positions along straight lines, rotations the short way at constant speed.

    `times` increase, and there are at least two; before the first and after the last the end poses stay.
    """
    at = np.clip(at, times[0], times[-1])
    left = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 2)
    share = ((at - times[left]) / (times[left + 1] - times[left]))[:, None]
    start, end = poses[left], poses[left + 1]
    turn = log_rotation(np.swapaxes(start[:, :3, :3], -1, -2) @ end[:, :3, :3])
    rotation = start[:, :3, :3] @ exp_rotation(share * turn)
    return pose_of(rotation, (1 - share) * start[:, :3, 3] + share * end[:, :3, 3])


def camera_steps(world_from_camera: Float64[ndarray, "n 4 4"], fps: float) -> Float64[ndarray, "n-1 6"]:
    """Velocity (units/s) and angular velocity (rad/s) between frames, in the axes of the earlier camera.

    The velocity is the straight step to the next position, as E.T. takes it, and not that of `log_pose`.
    """
    step = inverse(world_from_camera[:-1]) @ world_from_camera[1:]
    return fps * np.concatenate([step[:, :3, 3], log_rotation(step[:, :3, :3])], axis=-1)
