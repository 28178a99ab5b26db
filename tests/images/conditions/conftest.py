"""Pictures whose edges, areas and depths are known because they are drawn here."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

pytest.importorskip("cv2")


class Scene(NamedTuple):
    """What a camera sees of a ball in front of a slanted wall, with the truth of every pixel."""

    left: np.ndarray
    right: np.ndarray
    depth_m: np.ndarray
    normals: np.ndarray
    ball: np.ndarray
    focal_px: float
    baseline_m: float


@pytest.fixture
def square() -> torch.Tensor:
    """A dark square of 40×40 pixels in the middle of 96×96 white ones."""
    pixels = torch.full((1, 3, 96, 96), 255, dtype=torch.uint8)
    pixels[:, :, 28:68, 28:68] = torch.tensor([20, 40, 120], dtype=torch.uint8)[:, None, None]
    return pixels


@pytest.fixture(scope="session")
def scene() -> Scene:
    """Rendered by casting a ray per pixel; the pattern is painted on the surfaces, so both views see it."""
    size, focal, baseline = 128, 120.0, 0.25
    left = _cast(size, focal, 0.0)
    right = _cast(size, focal, baseline)
    return Scene(left[0], right[0], left[1], left[2], left[3], focal, baseline)


def _cast(size: int, focal: float, at_x: float):
    """Picture, depth, normals (left, up, towards) and where the ball is, from a camera at (x, 0, 0)."""
    pixel = (np.arange(size) - (size - 1) / 2) / focal
    ray = np.stack([*np.meshgrid(pixel, pixel), np.ones((size, size))], axis=2)
    origin = np.array([at_x, 0.0, 0.0])
    # the wall z = 4 + 0.3 x, then the ball of radius 0.7 around (0, 0, 2.5)
    depth = (4 + 0.3 * at_x) / (ray[..., 2] - 0.3 * ray[..., 0])
    normal = np.broadcast_to(np.array([0.3, 0.0, -1.0]) / np.hypot(0.3, 1.0), ray.shape).copy()
    centre, radius = np.array([0.0, 0.0, 2.5]), 0.7
    a, b = (ray**2).sum(2), (ray * (origin - centre)).sum(2)
    inside = b**2 - a * (((origin - centre) ** 2).sum() - radius**2)
    ball = inside > 0
    near = (-b - np.sqrt(np.where(ball, inside, 0))) / a
    depth = np.where(ball, near, depth)
    points = origin + ray * depth[..., None]
    normal[ball] = ((points - centre) / radius)[ball]
    waves = sum(
        np.sin(points @ np.array(direction) + phase)
        for direction, phase in [((23, 5, 9), 0), ((-7, 29, 4), 1), ((13, -17, 11), 2), ((37, 31, -5), 3)]
    )
    picture = np.stack([128 + 28 * waves, 128 - 20 * waves, np.where(ball, 200, 90) + 8 * waves], axis=2)
    return picture.clip(0, 255).astype(np.uint8), depth.astype(np.float32), -normal, ball
