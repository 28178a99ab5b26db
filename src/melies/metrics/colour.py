"""Saturation: pictures pushed to the ends of the scale, as too much guidance does."""

import torch
from jaxtyping import Float
from torch import Tensor

from melies.interfaces import Metric
from melies.metrics.measure import measure
from melies.metrics.pixels import Pictures, as_unit_range, picture_blocks


def share_at_ends(pictures: Pictures) -> Float[Tensor, " n"]:
    """Share of each picture's numbers that are the darkest or brightest of 256 levels, 0 … 1.

    Floats are rounded to the nearest level first; what lies outside the scale is at its ends.

    Raises:
        UserError: If there are no pictures, or one is not finite.
    """
    found = []
    for rows in picture_blocks(pictures):
        levels = (as_unit_range(pictures[rows]) * 255).round()
        found.append(((levels == 0) | (levels == 255)).double().flatten(1).mean(1))
    return torch.cat(found)


def mean_chroma(pictures: Pictures) -> Float[Tensor, " n"]:
    """Mean over each picture of its pixels' chroma, brightest minus darkest channel: 0 grey … 1 pure.

    Raises:
        UserError: If there are no pictures, or one is not finite.
    """
    found = []
    for rows in picture_blocks(pictures):
        x = as_unit_range(pictures[rows])
        found.append((x.amax(1) - x.amin(1)).flatten(1).mean(1))
    return torch.cat(found)


def measure_saturation(
    pictures: Pictures, *, num_resamples: int = 1000, seed: int = 0
) -> tuple[Metric, Metric]:
    """Mean share at the ends and mean chroma, with bootstrap intervals over pictures.

    Neither is good or bad by itself: compare with those of real pictures.
    """
    rest = {"unit": "share", "higher_is_better": False, "num_resamples": num_resamples, "seed": seed}
    return (
        measure("pixels at the ends", torch.mean, share_at_ends(pictures).cpu(), **rest),
        measure("chroma", torch.mean, mean_chroma(pictures).cpu(), **rest),
    )
