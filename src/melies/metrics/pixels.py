"""Pictures as measures take them: bytes or floats, on one scale."""

import math
from collections.abc import Iterator
from typing import TypeAlias

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from melies.errors import UserError
from melies.metrics.features import blocks

Pictures: TypeAlias = UInt8[Tensor, "_ _ _ _"] | Float[Tensor, "_ _ _ _"]
"""(n, c, h, w): bytes 0 … 255, or floats in [−1, 1], as models draw them."""


def picture_blocks(pictures: Pictures, *, most: int | None = None) -> Iterator[slice]:
    """Slices of pictures that fill one block, or `most` numbers; one picture at least.

    Raises:
        UserError: If there are no pictures.
    """
    if not pictures.numel():
        raise UserError("there are no pictures to measure")
    yield from blocks(len(pictures), pictures[0].numel(), most=most)


def as_signed_range(pictures: Pictures, name: str = "pictures") -> Float[Tensor, "n c h w"]:
    """Pictures on the scale of −1 (black) to 1 (white); floats outside are cut off as a screen does.

    float64 for bytes; floats keep their precision, float32 at least.

    Raises:
        UserError: If one is not finite.
    """
    if pictures.dtype == torch.uint8:
        return pictures.double() / 127.5 - 1
    pictures = pictures.detach()
    low, high = (float(end) for end in pictures.aminmax())  # one pass, which tells all
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(
            "pictures are not finite", where=name, remedy="the model that drew them may have diverged"
        )
    if low < -1 or high > 1:
        pictures = pictures.clamp(-1, 1)
    return pictures if pictures.dtype == torch.float64 else pictures.float()


def as_unit_range(pictures: Pictures, name: str = "pictures") -> Float[Tensor, "n c h w"]:
    """Pictures on the scale of 0 (black) to 1 (white), float64; floats outside [−1, 1] are cut off.

    Raises:
        UserError: If one is not finite.
    """
    if pictures.dtype == torch.uint8:
        return pictures.double() / 255
    return (as_signed_range(pictures, name).double() + 1) / 2
