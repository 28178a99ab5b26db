"""Mean distance between pairs of samples in feature space: how much they differ from each other."""

import torch
from jaxtyping import Float
from torch import Tensor

from melies.interfaces import Metric
from melies.metrics.directions import as_directions
from melies.metrics.features import Features, as_matrix, squared_distances
from melies.metrics.interval import count_blocks
from melies.metrics.measure import recentred_metric
from melies.metrics.pairs import num_pairs, sums_within


def cosine_diversity(features: Features) -> float:
    """Mean cosine distance 1 − cos over all pairs of different rows (n, d): 0 where all are alike.

    Needs no pairs at all: the sum of cosines is the squared length of the sum of directions.

    Raises:
        UserError: If there are fewer than two rows, or one is zero or not finite.
    """
    rows = as_directions(features, least=2)
    return float(_cosine(rows, torch.ones(1, len(rows)))[0])


def cosine_replicates(features: Features, *, num_resamples: int = 1000, seed: int = 0) -> Float[Tensor, " r"]:
    """Bootstrap replicates of `cosine_diversity`; of two sets of as many rows they belong together."""
    rows = as_directions(features, least=2)
    return torch.cat([_cosine(rows, counts) for counts in count_blocks(len(rows), num_resamples, seed)])


def euclidean_diversity(features: Features) -> float:
    """Mean Euclidean distance over all pairs of different rows (n, d), in feature units.

    Memory does not grow with n².

    Raises:
        UserError: If there are fewer than two rows, or one is not finite.
    """
    rows = as_matrix(features, least=2)
    return float(_euclidean(rows, torch.ones(1, len(rows)))[0])


def measure_cosine_diversity(
    features: Features, *, name: str = "cosine diversity", num_resamples: int = 1000, seed: int = 0
) -> Metric:
    """Mean cosine distance of pairs with a bootstrap interval; higher is more varied."""
    rows = as_directions(features, least=2)
    return recentred_metric(
        name,
        cosine_diversity(features),
        cosine_replicates(features, num_resamples=num_resamples, seed=seed),
        unit="",
        higher_is_better=True,
        num_samples=len(rows),
        seed=seed,
        least=0.0,
        most=2.0,
    )


def measure_euclidean_diversity(
    features: Features, *, name: str = "euclidean diversity", num_resamples: int = 200, seed: int = 0
) -> Metric:
    """Mean Euclidean distance of pairs with a bootstrap interval; higher is more varied."""
    rows = as_matrix(features, least=2)
    return recentred_metric(
        name,
        euclidean_diversity(features),
        torch.cat([_euclidean(rows, counts) for counts in count_blocks(len(rows), num_resamples, seed)]),
        unit="features",
        higher_is_better=True,
        num_samples=len(rows),
        seed=seed,
        least=0.0,
    )


def _cosine(rows: Float[Tensor, "n d"], weights: Float[Tensor, "r n"]) -> Float[Tensor, " r"]:
    weights = weights.to(rows)
    alike = (weights @ rows).square().sum(1) - weights.square().sum(1)
    return (1 - alike / num_pairs(weights)).clamp_min_(0).cpu()


def _euclidean(rows: Tensor, weights: Float[Tensor, "r n"]) -> Float[Tensor, " r"]:
    # Distances do not change when all rows move; near the origin the matrix product loses least.
    centred = rows.double() - rows.mean(0, dtype=torch.float64)
    weights = weights.to(centred)
    return (sums_within(_distances, centred, weights) / num_pairs(weights)).cpu()


def _distances(a: Tensor, b: Tensor) -> Tensor:
    return squared_distances(a, b).sqrt_()
