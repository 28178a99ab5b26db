"""Normal maps: which way surfaces face, from depth."""

from collections.abc import Callable
from math import pi
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from melies.images.conditions.depth import open_inverse_depth
from melies.images.conditions.each import Colour, Pixels, each, on_white, opencv

STEEPNESS = 2 * pi
"""Length of the third component against gradients of inverse depth in [0, 1] per Sobel: ControlNet's `a`."""
BACKGROUND = 0.4
"""Inverse depth below which a pixel counts as background and faces the viewer: ControlNet's `bg_th`."""


def open_normal(weights: Path) -> Callable[[Tensor], Tensor]:
    """Normal maps of pictures, by a depth model of transformers.

    Colours are (n + 1) / 2 in [0, 255]: red is left, green is up, blue is towards the viewer, the convention
    of ControlNet's normal maps.

    Raises:
        UserError: If the weights cannot be loaded.
    """
    inverse_depth = open_inverse_depth(weights)

    def normal(pixels: Pixels) -> Colour:
        found = [normals_from_inverse(inverse_depth(picture)) for picture in on_white(pixels)]
        return torch.stack([_coloured(normals) for normals in found])

    return normal


def normal_from_depth(pixels: Pixels) -> Colour:
    """Normal maps of pictures of depth, near is white, in the same colours."""

    def drawn(picture: np.ndarray) -> np.ndarray:
        near = picture[..., 0].astype(np.float32) / 255
        return np.ascontiguousarray(_coloured(normals_from_inverse(near)).permute(1, 2, 0).numpy())

    return each(pixels, drawn, channels=3)


def normals_from_inverse(near: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 3"]:
    """Unit normals (left, up, towards the viewer) from inverse depth of unknown scale: an impression only.

    Stretched to [0, 1] first. With depth in metres and a focal length, `normals_from_metric` is exact.

    Source: the `normal` annotator of ControlNet 1.0 (Zhang et al. 2023) on MiDaS.
    """
    cv2 = opencv()
    span = float(near.max() - near.min())
    near = (near - near.min()) / span if span > 0 else np.zeros_like(near)
    # nearer to the right faces left, and nearer below faces up: the signs of the gradient
    left, up = (cv2.Sobel(near, cv2.CV_32F, *axis, ksize=3) for axis in ((1, 0), (0, 1)))
    behind = near < BACKGROUND
    left[behind], up[behind] = 0, 0
    return _unit(np.stack([left, up, np.full_like(left, STEEPNESS)], axis=2))


def normals_from_metric(depth_m: Float32[np.ndarray, "h w"], focal_px: float) -> Float32[np.ndarray, "h w 3"]:
    """Unit normals (left, up, towards the viewer) of the surface seen at each pixel.

    The cross product of the tangents of the back-projected surface, by central differences (by one-sided ones
    on the border).

    Args:
        depth_m: Distance along the viewing axis, in metres or any unit.
        focal_px: Focal length in pixels; the axis goes through the middle of the picture.
    """
    h, w = depth_m.shape
    x = (np.arange(w, dtype=np.float64) - (w - 1) / 2) / focal_px
    y = (np.arange(h, dtype=np.float64) - (h - 1) / 2) / focal_px
    depth = depth_m.astype(np.float64)
    points = np.stack([depth * x[None, :], depth * y[:, None], depth], axis=2)
    across, down = np.gradient(points, axis=1), np.gradient(points, axis=0)
    facing = np.cross(
        down, across
    )  # OpenCV's axes: x right, y down, z forward; this one looks back at the viewer
    return _unit(facing * np.array([-1.0, -1.0, -1.0]))


def _unit(vectors: np.ndarray) -> Float32[np.ndarray, "h w 3"]:
    length = np.linalg.norm(vectors, axis=2, keepdims=True)
    return (vectors / np.maximum(length, 1e-12)).astype(np.float32)


def _coloured(normals: Float32[np.ndarray, "h w 3"]) -> Tensor:
    return torch.from_numpy((normals * 127.5 + 127.5).clip(0, 255).astype(np.uint8)).permute(2, 0, 1)
