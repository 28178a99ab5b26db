"""Sums over pairs of rows, tile by tile: memory grows neither with the rows nor with the weightings."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from melies.metrics.features import column_blocks, row_blocks

OfPairs = Callable[[Tensor, Tensor], Tensor]
"""Rows (n, d) and (m, d), float64, to a number for every pair (n, m)."""


def sums_within(
    function: OfPairs, points: Float[Tensor, "n d"], weights: Float[Tensor, "r n"]
) -> Float[Tensor, " r"]:
    """Σ wᵢ wⱼ f(xᵢ, xⱼ) over ordered pairs of different rows, float64, for r weightings at once.

    Two copies of one row are left out as a row paired with itself is: otherwise resamples, which
    repeat rows, would be biased.

    Args:
        function: Symmetric; see `OfPairs`.
        points: Rows of any float type.
        weights: How often each row counts, once per weighting.
    """
    weights = weights.to(points.device, torch.float64)
    total = torch.zeros(len(weights), dtype=torch.float64, device=points.device)
    for rows in row_blocks(len(points), points.shape[1]):
        own, of_own = points[rows].double(), weights[:, rows]
        tile = function(own, own)
        tile.diagonal().zero_()
        total += ((of_own @ tile) * of_own).sum(1)
        for columns in column_blocks(len(points), points.shape[1], start=rows.stop):
            tile = function(own, points[columns].double())
            total += 2 * ((of_own @ tile) * weights[:, columns]).sum(1)
    return total


def sums_between(
    function: OfPairs,
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "m d"],
    weights_a: Float[Tensor, "r n"],
    weights_b: Float[Tensor, "r m"],
) -> Float[Tensor, " r"]:
    """Σ vᵢ wⱼ f(aᵢ, bⱼ) over all pairs of the two sets, float64, for r weightings at once."""
    weights_a, weights_b = (weights.to(a.device, torch.float64) for weights in (weights_a, weights_b))
    total = torch.zeros(len(weights_a), dtype=torch.float64, device=a.device)
    for rows in row_blocks(len(a), a.shape[1]):
        own = a[rows].double()
        for columns in column_blocks(len(b), b.shape[1]):
            tile = function(own, b[columns].double())
            total += ((weights_a[:, rows] @ tile) * weights_b[:, columns]).sum(1)
    return total


def num_pairs(weights: Float[Tensor, "r n"]) -> Float[Tensor, " r"]:
    """Ordered pairs of different rows; never 0, lest a resample of one row alone divide by it."""
    weights = weights.double()
    return (weights.sum(1) ** 2 - weights.square().sum(1)).clamp_min(1.0)
