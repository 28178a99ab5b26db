"""Kernel distance (unbiased MMD² with a cubic kernel) between two sets of features."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from melies.errors import UserError
from melies.metrics.features import Features, as_pair
from melies.metrics.interval import draw_counts
from melies.metrics.pairs import num_pairs, sums_between, sums_within
from melies.rng import generator_for

_NAMES = ("generated features", "real features")


def polynomial_kernel(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """(a·b/d + 1)³: dimensionless, compares moments up to the third.

    Source: Bińkowski et al. (2018), §4.
    """
    base = a @ b.T / a.shape[1] + 1
    return base * base * base  # ** 3 takes four times as long


def kernel_distance(generated: Features, real: Features) -> float:
    """Unbiased squared maximum mean discrepancy of two sets of features (n, d) and (m, d).

    Zero in the mean when both sets come from one distribution, at any size, so it may be slightly
    negative. Not "KID" unless the features are Inception's. Memory does not grow with n or m.

    Raises:
        ValueError: If the dimensions differ.
        UserError: If a set has fewer than two rows, or one that is not finite.

    Source: Gretton et al. (2012), eq. 3, with `polynomial_kernel`.
    """
    generated, real = as_pair(generated, real, _NAMES, least=2)
    ones = torch.ones(1, len(generated)), torch.ones(1, len(real))
    return float(_weighted(generated, real, *ones)[0])


def kernel_replicates(
    generated: Features, real: Features, *, num_resamples: int = 200, seed: int = 0
) -> Float[Tensor, " r"]:
    """Bootstrap replicates of `kernel_distance`, both sets resampled.

    Two copies of one row are left out as a row paired with itself is: otherwise every replicate
    would be biased upwards. All replicates share one pass over the kernel.
    """
    generated, real = as_pair(generated, real, _NAMES, least=2)
    counts = torch.stack(list(draw_counts(len(generated), num_resamples, seed, "generated")))
    real_counts = torch.stack(list(draw_counts(len(real), num_resamples, seed, "real")))
    return _weighted(generated, real, counts.float(), real_counts.float()).cpu()


class SubsetDistance(NamedTuple):
    """Kernel distance over random subsets."""

    mean: float
    std: float
    """Over subsets; a spread at the subset's size, not the error of the mean."""


def kernel_distance_of_subsets(
    generated: Features, real: Features, *, subset_size: int = 1000, num_subsets: int = 100, seed: int = 0
) -> SubsetDistance:
    """The kernel distance as it is often published: mean over subsets drawn without replacement.

    Has the same expectation as `kernel_distance`, with more noise; for comparison with numbers
    reported so. Source: Bińkowski et al. (2018), §4.

    Raises:
        UserError: If a set has fewer than `subset_size` rows.
    """
    generated, real = as_pair(generated, real, _NAMES, least=2)
    if not 2 <= subset_size <= min(len(generated), len(real)) or num_subsets < 1:
        raise UserError(
            f"{num_subsets} subsets of {subset_size} cannot be drawn "
            f"from {len(generated)} generated and {len(real)} real samples",
            remedy="ask for smaller subsets, or draw more samples",
        )
    found = []
    for step in range(num_subsets):
        drawn = generator_for(seed, "kernel subsets", step)
        rows = torch.randperm(len(generated), generator=drawn)[:subset_size].to(generated.device)
        real_rows = torch.randperm(len(real), generator=drawn)[:subset_size].to(real.device)
        found.append(kernel_distance(generated[rows], real[real_rows]))
    values = torch.tensor(found, dtype=torch.float64)
    return SubsetDistance(float(values.mean()), float(values.std(correction=0)))


def _weighted(
    a: Tensor, b: Tensor, weights_a: Float[Tensor, "r n"], weights_b: Float[Tensor, "r m"]
) -> Float[Tensor, " r"]:
    """Unbiased MMD² in which row i counts `weights[:, i]` times, for r weightings at once."""
    weights_a, weights_b = weights_a.to(a.device), weights_b.to(b.device)
    within_a = sums_within(polynomial_kernel, a, weights_a) / num_pairs(weights_a)
    within_b = sums_within(polynomial_kernel, b, weights_b) / num_pairs(weights_b)
    between = sums_between(polynomial_kernel, a, b, weights_a, weights_b)
    return within_a + within_b - 2 * between / (weights_a.double().sum(1) * weights_b.double().sum(1))
