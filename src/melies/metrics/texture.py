"""How sharp the edges of a picture are, and how much of it has no detail at all.

Strong guidance is said to give sharp pictures of solid colours, weak guidance fuzzy ones full of texture:
the two numbers here tell these apart, where power at high frequencies takes both for detail.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from melies.metrics.pixels import Pictures, as_unit_range, picture_blocks

STEEPEST = 0.05
"""Share of the pixels of a picture that its edges are."""

FLAT = 2 / 255
"""Largest difference between neighbours in a solid colour: two levels of 256."""


def edge_contrast(pictures: Pictures) -> Float[Tensor, " n"]:
    """Mean gradient of the steepest 5 % of each picture's pixels, in ranges per pixel: high where sharp.

    Differences are central, of the mean of the channels; a step from black to white reads 0.5.

    Raises:
        UserError: If there are no pictures, or one is not finite.
    """
    found = []
    for rows in picture_blocks(pictures):
        grey = F.pad(as_unit_range(pictures[rows]).mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        across = (grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2]) / 2
        down = (grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1]) / 2
        gradients = torch.hypot(across, down).flatten(1)
        num = max(1, round(STEEPEST * gradients.shape[1]))
        found.append(gradients.topk(num, dim=1).values.mean(1).double())
    return torch.cat(found)


def flat_share(pictures: Pictures) -> Float[Tensor, " n"]:
    """Share of each picture that is of solid colour: pixels as their eight neighbours, within two levels.

    Raises:
        UserError: If there are no pictures, or one is not finite.
    """
    found = []
    for rows in picture_blocks(pictures):
        x = F.pad(as_unit_range(pictures[rows]), (1, 1, 1, 1), mode="replicate")
        spread = F.max_pool2d(x, 3, stride=1) + F.max_pool2d(-x, 3, stride=1)
        flat = (spread <= FLAT + 1e-6).all(1)
        found.append(flat.double().flatten(1).mean(1))
    return torch.cat(found)
