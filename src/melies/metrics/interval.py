"""Confidence intervals: how far a measured number can be trusted.

All of them are about the number at the sample size that was used, not at infinitely many samples.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from melies.config import check_range
from melies.errors import UserError
from melies.rng import generator_for

_AT_ONCE = 8_000_000
"""Numbers of a block of counts: 64 MB."""


def draw_indices(size: int, num_resamples: int, seed: int, name: str = "") -> Iterator[Int[Tensor, " n"]]:
    """Bootstrap resamples of `size` rows, with replacement, as row indices.

    Resample i depends on seed, name and i alone, so fewer resamples are a prefix of more.
    """
    _check(size, num_resamples)
    for step in range(num_resamples):
        yield torch.randint(size, (size,), generator=generator_for(seed, "bootstrap", name, step))


def draw_counts(size: int, num_resamples: int, seed: int, name: str = "") -> Iterator[Int[Tensor, " n"]]:
    """The resamples of `draw_indices`, as how often each row was drawn."""
    for indices in draw_indices(size, num_resamples, seed, name):
        yield torch.bincount(indices, minlength=size)


def count_blocks(size: int, num_resamples: int, seed: int) -> Iterator[Float[Tensor, "r n"]]:
    """The resamples of `draw_counts` as float64 rows, as many at once as bounded memory holds."""
    drawn = draw_counts(size, num_resamples, seed)
    while block := list(itertools.islice(drawn, max(1, _AT_ONCE // size))):
        yield torch.stack(block).double()


def bootstrap(
    statistic: Callable, *sizes: int, num_resamples: int = 1000, seed: int = 0
) -> Float[Tensor, " r"]:
    """Replicates of `statistic(*indices)`, one index tensor per set, the sets resampled apart.

    For a paired comparison give one size, and let the statistic use its indices for both sides.

    Args:
        statistic: Index tensors (n,) → a number.
        sizes: Number of rows of each set.
        num_resamples: How many replicates; 200 settle a standard error, 1,000 an interval.
        seed: Of the resampling.
    """
    drawn = [draw_indices(size, num_resamples, seed, f"set {i}") for i, size in enumerate(sizes)]
    found = [float(statistic(*indices)) for indices in zip(*drawn, strict=True)]
    return torch.tensor(found, dtype=torch.float64)


def percentile_interval(replicates: Float[Tensor, " r"], *, level: float = 0.95) -> tuple[float, float]:
    """The central `level` of the replicates. Source: Efron & Tibshirani (1993), §13.3."""
    check_range("level", level, low=0.0, high=1.0, low_open=True)
    tail = (1 - level) / 2
    ends = torch.quantile(replicates.double(), torch.tensor([tail, 1 - tail], dtype=torch.float64))
    return float(ends[0]), float(ends[1])


def recentred_interval(
    value: float,
    replicates: Float[Tensor, " r"],
    *,
    level: float = 0.95,
    least: float = -math.inf,
    most: float = math.inf,
) -> tuple[float, float]:
    """The percentile interval moved so that the replicates' mean falls on `value`, which it always holds.

    For statistics with a bias that grows when samples repeat, such as the Fréchet distance: a
    resample has a third fewer distinct rows, so plain percentiles lie beside the estimate.

    Args:
        value: The estimate from all rows.
        replicates: Its bootstrap replicates.
        level: Share of replicates inside.
        least: The smallest value that the statistic can take; the interval is cut there.
        most: The largest.
    """
    shift = value - float(replicates.double().mean())
    low, high = percentile_interval(replicates, level=level)
    low, high = min(low + shift, value), max(high + shift, value)
    return max(least, low), min(most, high)


def wilson_interval(successes: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a share in [0, 1]; honest at 0 and 1 too. Source: Wilson (1927).

    Raises:
        ValueError: If not 0 ≤ successes ≤ trials.
        UserError: If there are no trials.
    """
    check_range("level", level, low=0.0, high=1.0, low_open=True)
    if not 0 <= successes <= trials:
        raise ValueError(f"need 0 ≤ successes ≤ trials, got {successes} of {trials}")
    if trials == 0:
        raise UserError("a share needs at least one trial")
    z = NormalDist().inv_cdf((1 + level) / 2) if level < 1 else math.inf
    if math.isinf(z):
        return 0.0, 1.0
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


class Difference(NamedTuple):
    """A paired difference, first minus second."""

    value: float
    interval: tuple[float, float]
    """95 %, low then high; a zero inside means that the samples do not tell the two apart."""


def paired_difference(
    first: Float[Tensor, " n"], second: Float[Tensor, " n"], *, num_resamples: int = 1000, seed: int = 0
) -> Difference:
    """Mean difference of two measurements of the same n samples, with a bootstrap interval.

    Pairing takes away what the samples have in common (an easy prompt is easy for both).
    """
    difference = first.double() - second.double()
    replicates = bootstrap(
        lambda indices: difference[indices].mean(), len(difference), num_resamples=num_resamples, seed=seed
    )
    return Difference(float(difference.mean()), percentile_interval(replicates))


def _check(size: int, num_resamples: int) -> None:
    if size < 1:
        raise UserError("there are no samples to resample")
    if num_resamples < 2:
        raise UserError(f"{num_resamples} resamples make no interval", remedy="ask for at least 2")
