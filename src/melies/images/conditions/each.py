"""One picture of a batch after another, as OpenCV wants them: height, width, colours."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from melies.optional import require

Pixels = UInt8[Tensor, "n _ h w"]
"""RGB, or RGB and transparency."""
Grey = UInt8[Tensor, "n 1 h w"]
Colour = UInt8[Tensor, "n 3 h w"]

REFERENCE_SIDE = 512
"""Shorter side in pixels at which the public annotators look; lengths given in pixels are meant there."""


def opencv() -> ModuleType:
    """OpenCV.

    Raises:
        UserError: If it is not installed.
    """
    return require("cv2", extra="control", why="taking conditions from pictures")


def each(
    pixels: Pixels, function: Callable[[np.ndarray], np.ndarray], *, channels: int = 1
) -> UInt8[Tensor, "n c h2 w2"]:
    """`function` of every picture (h, w, 3), which gives (h, w) or (h, w, channels); transparency is white.

    Raises:
        ValueError: If pictures have other channels than RGB with or without transparency.
    """
    cv2 = opencv()
    if pixels.shape[1] not in (3, 4):
        raise ValueError(f"pictures have 3 or 4 channels, not {pixels.shape[1]}")
    batch = on_white(pixels).cpu().numpy()
    found = [function(cv2.merge(tuple(planes))) for planes in batch]
    if not found:
        return torch.empty(0, channels, *pixels.shape[2:], dtype=torch.uint8)
    stacked = torch.from_numpy(np.stack(found))
    return stacked[:, None] if channels == 1 else stacked.permute(0, 3, 1, 2).contiguous()


def on_white(pixels: Pixels) -> Colour:
    """Pictures without transparency: what shows through is white."""
    if pixels.shape[1] == 3:
        return pixels
    colour, alpha = pixels[:, :3].float(), pixels[:, 3:].float() / 255
    return (colour * alpha + 255 * (1 - alpha)).round().to(torch.uint8)


def relative(length: float, picture: np.ndarray, *, least: float = 0.0) -> float:
    """A length that is meant at `REFERENCE_SIDE`, in pixels of this picture."""
    return max(least, length * min(picture.shape[:2]) / REFERENCE_SIDE)
