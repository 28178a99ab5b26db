"""Inception-style score: does a classifier see one class in each sample, and all classes among them?"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from melies.errors import UserError
from melies.interfaces import Metric
from melies.metrics.interval import count_blocks
from melies.metrics.measure import recentred_metric
from melies.rng import generator_for

Probabilities = Float[Tensor, "n k"]
"""p(y|x): one row per sample, which sums to 1."""


class SplitScore(NamedTuple):
    """The score over equal parts of the samples."""

    mean: float
    std: float
    """Over the parts; a spread at their size, not the error of the mean."""


def inception_score(probabilities: Probabilities) -> float:
    """exp(E KL(p(y|x) ‖ p(y))): 1 where the classifier tells nothing apart, at most the number of classes.

    Not "Inception Score" unless the classifier is Inception: other classes, other numbers. It knows
    nothing of real samples, nor of variety within a class; compare it with that of equally many real
    ones. From n samples it is too low by about (k − 1) / 2n of itself.

    Raises:
        UserError: If there are no samples.
        ValueError: If a row is no distribution.

    Source: Salimans et al. (2016), §4.
    """
    probabilities = _checked(probabilities)
    return float(_scores(probabilities, torch.ones(1, len(probabilities)))[0])


def inception_score_of_splits(
    probabilities: Probabilities, *, num_splits: int = 10, seed: int = 0
) -> SplitScore:
    """The score as it is often published: mean and spread over `num_splits` random equal parts.

    Lower than `inception_score`, for each part is smaller; for comparison with numbers reported so.

    Raises:
        UserError: If there are fewer samples than parts.
    """
    probabilities = _checked(probabilities)
    if not 1 <= num_splits <= len(probabilities):
        raise UserError(f"{len(probabilities)} samples cannot be split into {num_splits} parts")
    order = torch.randperm(len(probabilities), generator=generator_for(seed, "inception splits"))
    parts = probabilities[order.to(probabilities.device)].tensor_split(num_splits)
    values = torch.tensor([inception_score(part) for part in parts], dtype=torch.float64)
    return SplitScore(float(values.mean()), float(values.std()) if num_splits > 1 else 0.0)


def inception_replicates(
    probabilities: Probabilities, *, num_resamples: int = 1000, seed: int = 0
) -> Float[Tensor, " r"]:
    """Bootstrap replicates of `inception_score`; of two sets of as many samples they belong together."""
    probabilities = _checked(probabilities)
    blocks = count_blocks(len(probabilities), num_resamples, seed)
    return torch.cat([_scores(probabilities, counts) for counts in blocks])


def measure_inception_score(
    probabilities: Probabilities, *, name: str = "is", num_resamples: int = 1000, seed: int = 0
) -> Metric:
    """The score of all samples, unsplit, with a recentred bootstrap interval; higher is better."""
    return recentred_metric(
        name,
        inception_score(probabilities),
        inception_replicates(probabilities, num_resamples=num_resamples, seed=seed),
        unit="classes",
        higher_is_better=True,
        num_samples=len(probabilities),
        seed=seed,
        least=1.0,
        most=float(probabilities.shape[1]),
    )


def _scores(probabilities: Tensor, counts: Tensor) -> Float[Tensor, " r"]:
    """The score in which row i counts `counts[:, i]` times, r resamples at once: E KL is H(y) − H(y|x)."""
    weights = counts.to(probabilities)
    weights = weights / weights.sum(1, keepdim=True)
    of_samples = torch.special.entr(probabilities).sum(1)
    of_marginal = torch.special.entr(weights @ probabilities).sum(1)
    return (of_marginal - weights @ of_samples).exp().cpu()


def _checked(probabilities: Tensor) -> Tensor:
    if not len(probabilities):
        raise UserError("there are no samples to score", where="inception score")
    probabilities = probabilities.detach().double()
    if not ((probabilities >= 0).all() and ((probabilities.sum(1) - 1).abs() < 1e-3).all()):
        raise ValueError("each row must be at least 0 and sum to 1; are these logits?")
    return probabilities / probabilities.sum(1, keepdim=True)
