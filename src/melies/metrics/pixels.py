"""Pictures as measures take them: bytes or floats, on one scale."""

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


def as_unit_range(pictures: Pictures, name: str = "pictures") -> Float[Tensor, "n c h w"]:
    """Pictures on the scale of 0 (black) to 1 (white), float64; floats outside [−1, 1] are cut off.

    Raises:
        UserError: If one is not finite.
    """
    if pictures.dtype == torch.uint8:
        return pictures.double() / 255
    if not pictures.isfinite().all():
        raise UserError(
            "pictures are not finite", where=name, remedy="the model that drew them may have diverged"
        )
    return (pictures.detach().double().clamp(-1, 1) + 1) / 2
