"""Networks of transformers that look at one picture of any size, with what their folder says of pictures."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from melies.errors import UserError
from melies.files import read_text
from melies.images.networks import read_statistics, standardised
from melies.text.weights import load_pretrained

HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""Mean and standard deviation of pictures where a folder says nothing."""
SIDE = 384
"""Shorter side at which a picture is looked at where a folder says nothing."""
STEP = 32
"""Sides are multiples of this: the coarsest cell of the networks."""


def open_dense(model: str, folder: Path) -> tuple[Callable[[UInt8[Tensor, "3 h w"]], Any], Any]:
    """A network that answers for every pixel: `(picture) → its output`, and its config.

    Args:
        model: `"transformers:Class"`.
        folder: With config.json, the weights, and preprocessor_config.json if the network came with one.

    Raises:
        UserError: If the files are damaged, or those of another network.
    """
    if not folder.is_dir():
        raise UserError("a folder is needed, with config.json beside the weights", where=str(folder))
    network = load_pretrained(model, folder)
    mean, std = read_statistics(folder, HALVES)
    side = _side(folder)

    @torch.no_grad()
    def look(picture: UInt8[Tensor, "3 h w"]) -> Any:
        return network(standardised(_fitted(picture[None].float(), side), mean, std))

    return look, network.config


def back_to(output: Float[Tensor, "n c h2 w2"], picture: UInt8[Tensor, "3 h w"]) -> Float[Tensor, "n c h w"]:
    """What was answered, at the size of the picture."""
    return F.interpolate(output, tuple(picture.shape[1:]), mode="bilinear", align_corners=False)


def _fitted(picture: Float[Tensor, "1 3 h w"], side: int) -> Float[Tensor, "1 3 h2 w2"]:
    """The aspect is kept, up to the step of the sides."""
    factor = side / min(picture.shape[2:])
    size = [max(STEP, round(factor * length / STEP) * STEP) for length in picture.shape[2:]]
    return F.interpolate(picture, size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 255)


def _side(folder: Path) -> int:
    """The size that preprocessor_config.json gives: a number, or a shorter edge, or height and width."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return SIDE
    try:
        size = json.loads(read_text(path)).get("size", SIDE)
        sides = (
            [size[name] for name in ("shortest_edge", "height", "width") if name in size]
            if isinstance(size, dict)
            else [size]
        )
        side = int(min(sides))
    except (ValueError, TypeError, AttributeError):
        raise UserError(
            "does not say how large pictures are", where=str(path), remedy="download it again"
        ) from None
    if not STEP <= side <= 4096:
        raise UserError(f"a side of {side} pixels is not in [{STEP}, 4096]", where=str(path))
    return side
