"""Precision, recall, density and coverage: fidelity apart from variety, by nearest neighbours."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from melies.metrics.features import (
    Features,
    as_pair,
    column_blocks,
    exact_squared_distances,
    row_blocks,
    squared_distances,
    squared_lengths,
)
from melies.metrics.neighbours import nearest_others


class Prdc(NamedTuple):
    """The four shares; all but density lie in [0, 1]."""

    precision: float
    """Generated samples inside the real manifold: are they good?"""
    recall: float
    """Real samples inside the generated manifold: is everything there?"""
    density: float
    """As precision, counting how many real balls hold a sample; 1 in the mean at the truth."""
    coverage: float
    """Real samples with a generated one in their own ball: as recall, robust to outliers."""


class PrdcSamples(NamedTuple):
    """The same before the mean: one entry per sample."""

    precise: Bool[Tensor, " n"]
    recalled: Bool[Tensor, " m"]
    dense: Float[Tensor, " n"]
    covered: Bool[Tensor, " m"]


def prdc(generated: Features, real: Features, *, k: int = 5) -> Prdc:
    """Precision, recall, density and coverage of generated (n, d) against real (m, d) features.

    A manifold is the union of balls around its samples, each reaching to the k-th nearest other
    sample of the same set. All four depend on n, m and k: compare at equal ones, beside the floor.

    Args:
        generated: Features of drawn samples.
        real: Features of real samples, from the same extractor.
        k: Neighbours that set a ball's radius; 3 and 5 are usual.

    Raises:
        ValueError: If the dimensions differ.
        UserError: If a set has not more than k rows, or one that is not finite.

    Source: precision and recall Kynkäänniemi et al. (2019), eq. 1–2; density and coverage
    Naeem et al. (2020), §3.
    """
    samples = prdc_samples(generated, real, k=k)
    return Prdc(*(float(entry.double().mean()) for entry in samples))


def prdc_samples(generated: Features, real: Features, *, k: int = 5) -> PrdcSamples:
    """What each sample adds to `prdc`, which is the mean of each entry."""
    generated, real = as_pair(generated, real, ("generated features", "real features"))
    radii_generated = nearest_others(generated, k).distances[:, -1].square()
    radii_real = nearest_others(real, k).distances[:, -1].square()
    centre = real.mean(0, dtype=torch.float64)
    num_balls = torch.zeros(len(generated), dtype=torch.int64, device=real.device)
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    covered = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    width = real.shape[1]
    for rows in row_blocks(len(generated), width):
        for columns in column_blocks(len(real), width):
            a, b = generated[rows].double() - centre, real[columns].double() - centre
            tile = squared_distances(a, b)
            largest = squared_lengths(a).max() + squared_lengths(b).max()
            slack = 4 * width * torch.finfo(tile.dtype).eps * float(largest)
            sides = generated[rows], real[columns]
            in_real = _within(tile, slack, radii_real[columns], sides)
            in_generated = _within(tile, slack, radii_generated[rows][:, None], sides)
            num_balls[rows] += in_real.sum(1)
            covered[columns] |= in_real.any(0)
            recalled[columns] |= in_generated.any(0)
    return PrdcSamples(num_balls > 0, recalled, num_balls.double() / k, covered)


def _within(tile: Tensor, slack: float, radii: Tensor, sides: tuple[Tensor, Tensor]) -> Tensor:
    """Which pairs are within a squared radius, the rim included.

    Pairs whose rounding error could decide are measured again by differences; without that,
    copies of a training row would fall outside a ball of radius 0.
    """
    inside = tile < radii - slack
    near = (inside ^ (tile <= radii + slack)).nonzero()
    pairs = near[:, 0], near[:, 1]
    limit = radii.expand_as(tile)[pairs]
    inside[pairs] = exact_squared_distances(*sides, pairs) <= limit * (1 + 1e-12)
    return inside
