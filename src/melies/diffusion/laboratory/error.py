"""How far samples are from a density that is known: energy distance, total variation, divergence.

Each is given for the samples and for bootstrap weightings of them. Cells with the same noise that are
given the same weightings are compared pair by pair: the difference of their replicates is that of pairs.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from melies.diffusion.laboratory.tilted import CELLS, GridDensity
from melies.metrics.interval import draw_counts


def weightings(num: int, num_resamples: int, seed: int) -> Float[Tensor, "r_and_1 n"]:
    """Shares of the samples that sum to 1: all alike in the first row, then bootstrap resamples."""
    counts = torch.stack(list(draw_counts(num, num_resamples, seed, "laboratory"))).double()
    return torch.cat([torch.ones(1, num, dtype=torch.float64), counts]) / num


def spread_of(x: Float[Tensor, "n d"], weights: Float[Tensor, "r n"]) -> Float[Tensor, " r"]:
    """Mean distance of two different samples, for each weighting."""
    centred = (x - x.mean(0)).float()  # half the time, and six digits are more than samples warrant
    between = torch.cdist(centred, centred, compute_mode="donot_use_mm_for_euclid_dist")
    light = weights.float()
    sums = ((light @ between) * light).sum(1).double()
    return sums / (1 - weights.square().sum(1))  # without the pairs of a sample and itself


def energy_distance(
    x: Float[Tensor, "n d"],
    density: GridDensity,
    weights: Float[Tensor, "r n"],
    spread: Float[Tensor, " r"] | None = None,
) -> Float[Tensor, " r"]:
    """2·E|X − Y| − E|X − X′| − E|Y − Y′|, in units of x; 0 only where the two agree; without bias.

    Args:
        x: Samples X.
        density: Of Y; its part is exact.
        weights: From `weightings`.
        spread: From `spread_of`, where it is already there.

    Source: Székely & Rizzo (2013), "Energy statistics: a class of statistics based on distances".
    """
    own = spread_of(x, weights) if spread is None else spread
    return 2 * weights @ density.expected_distance(x) - own - density.spread


def cell_shares(
    x: Float[Tensor, "n d"], density: GridDensity, weights: Float[Tensor, "r n"]
) -> Float[Tensor, "r cells"]:
    """The share of samples in each cell of equal mass."""
    return weights @ torch.nn.functional.one_hot(density.cell_of(x), CELLS).double()


def total_variation(shares: Float[Tensor, "r cells"], density: GridDensity) -> Float[Tensor, " r"]:
    """Half the sum of differences of mass over the cells, 0 … 1; at finite n above 0 even for the truth."""
    return 0.5 * (shares - density.cell_masses()).abs().sum(1)


def divergence(shares: Float[Tensor, "r cells"], density: GridDensity, num: int) -> Float[Tensor, " r"]:
    """KL(samples ‖ density) over the cells, in nats, less what chance adds at `num` samples.

    Source: Miller (1955), whose correction is (cells − 1)/(2·num).
    """
    plain = torch.special.xlogy(shares, shares / density.cell_masses()).sum(1)
    return plain - (CELLS - 1) / (2 * num)


def frechet_distance(
    x: Float[Tensor, "n d"],
    mean: Float[Tensor, " d"],
    covariance: Float[Tensor, "d d"],
    weights: Float[Tensor, "r n"],
) -> Float[Tensor, " r"]:
    """‖m − m′‖² + tr(C + C′ − 2·(C·C′)^½) from the samples' moments to known ones, for each weighting.

    Source: Heusel et al. (2017), eq. 6, on the data itself.
    """
    own = weights @ x
    products = (x[:, :, None] * x[:, None]).flatten(1)
    second = (weights @ products).view(-1, *covariance.shape)
    cov = second - own[:, :, None] * own[:, None]
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    mixed = torch.linalg.eigvalsh(root @ cov @ root).clamp(min=0).sqrt().sum(1)
    traces = cov.diagonal(dim1=1, dim2=2).sum(1) + covariance.trace()
    return (own - mean).square().sum(1) + traces - 2 * mixed
