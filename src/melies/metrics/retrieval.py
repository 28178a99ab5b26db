"""Retrieval: how often what belongs to a query is among the nearest of a set."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from melies.interfaces import Metric
from melies.metrics.measure import measure, measure_share

RANKS = (1, 2, 3, 5, 10)


def rank_of_own(similarity: Float[Tensor, "n n"]) -> Int64[Tensor, " n"]:
    """The rank, from 1, of each query's (row's) own entry (of the same number) by falling similarity.

    Entries as similar as one's own come first: who finds all alike has found nothing.
    """
    own = similarity.diagonal()[:, None]
    return (similarity >= own).sum(1)


def measure_retrieval(
    name: str, similarity: Float[Tensor, "n n"], *, ranks: Sequence[int] = RANKS, seed: int = 0
) -> list[Metric]:
    """R@k, the share of queries whose own is among the k nearest, and the median rank, MedR.

    Over the whole set; a larger set is a harder one, so the number of queries belongs to every figure.
    """
    rank = rank_of_own(similarity)
    shares = [
        measure_share(f"{name} R@{k}", rank <= k, higher_is_better=True) for k in ranks if k <= len(rank)
    ]
    median = measure(f"{name} MedR", torch.median, rank.double(), unit="", higher_is_better=False, seed=seed)
    return [*shares, median]
