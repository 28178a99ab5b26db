"""Where a character is in the picture of a camera, and how a camera is turned to keep it there."""

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

from melies.camera.features import Axes
from melies.camera.path import ASPECT, FOCAL
from melies.geometry import exp_rotation, inverse

NEAREST = 0.3
"""Depth up to which a character is not in the picture, metres."""
HEIGHT = 1.7
"""Of a character, metres."""

Poses = Float64[ndarray, "n 4 4"]
Track = Float64[ndarray, "n 3"]


def seen_from(world_from_camera: Poses, character: Track) -> Track:
    """Where the character is in the axes of the camera, metres: right, down, away from it."""
    here = np.concatenate([character, np.ones((len(character), 1))], axis=1)
    return (inverse(world_from_camera) @ here[:, :, None])[:, :3, 0]


def in_view(
    world_from_camera: Poses,
    character: Track,
    margin: float = 0.0,
    *,
    focal: float | Float64[ndarray, " n"] = FOCAL,
) -> Bool[ndarray, " n"]:
    """Whether the character's hips are in a 16:9 picture, clear of its margins.

    Args:
        world_from_camera: Poses, metres.
        character: Where the hips are, metres.
        margin: Share of the picture on each side that does not count.
        focal: Of the lens, in heights of the picture; E.T.'s if not given.
    """
    x, y, z = seen_from(world_from_camera, character).T
    half = (1 - 2 * margin) / 2
    return (z > NEAREST) & (np.abs(x) * focal <= z * ASPECT * half) & (np.abs(y) * focal <= z * half)


def keep_in_view(world_from_camera: Poses, character: Track, margin: float, *, axes: Axes = "world") -> Poses:
    """The path turned, no more than is needed, so that the character is clear of the margins at each frame.

    Args:
        world_from_camera: Poses, metres.
        character: Where the hips are, metres.
        margin: Share of the picture on each side that the hips keep out of.
        axes: Of the steps that stay as they are: with those of the camera the path bends as it is turned.
    """
    poses = world_from_camera.copy()
    steps = np.diff(poses[:, :3, 3], axis=0)
    if axes == "camera":
        steps = (np.swapaxes(poses[:-1, :3, :3], 1, 2) @ steps[..., None])[..., 0]
    side = np.arctan((1 - 2 * margin) * ASPECT / 2 / FOCAL)
    above = (1 - 2 * margin) / 2 / FOCAL
    for frame in range(len(poses)):
        if frame:
            step = steps[frame - 1]
            if axes == "camera":
                step = poses[frame - 1, :3, :3] @ step
            poses[frame, :3, 3] = poses[frame - 1, :3, 3] + step
        rotation = poses[frame, :3, :3]
        seen = rotation.T @ (character[frame] - poses[frame, :3, 3])
        yaw = np.arctan2(seen[0], seen[2])
        if turn := yaw - np.clip(yaw, -side, side):
            rotation = rotation @ exp_rotation(np.array([0.0, turn, 0.0]))
            seen = rotation.T @ (character[frame] - poses[frame, :3, 3])
        # The picture is flat: with x and z held, its upper edge is where y is `above` times z.
        pitch, distance = np.arctan2(seen[1], seen[2]), np.arctan(above)
        if turn := pitch - np.clip(pitch, -distance, distance):
            rotation = rotation @ exp_rotation(np.array([-turn, 0.0, 0.0]))
        poses[frame, :3, :3] = rotation
    return poses


def at_size(world_from_camera: Poses, character: Track, size: float) -> Poses:
    """The path moved along the line to the character until it is `size` picture heights tall at first.

    It is as tall as that in the middle of the picture. A camera that is where the character is stays.
    """
    poses = world_from_camera.copy()
    line = poses[0, :3, 3] - character[0]
    distance = np.linalg.norm(line)
    if distance > 0:
        poses[:, :3, 3] += (HEIGHT * FOCAL / (size * distance) - 1) * line
    return poses
