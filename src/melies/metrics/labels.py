"""How well labels agree, place by place: precision, recall and F1 of each label, and over all of them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from melies.interfaces import Metric
from melies.metrics.measure import measure


class LabelScores(NamedTuple):
    """Of each of k labels."""

    precision: Float64[Tensor, " k"]
    """Share of the places that were given a label that have it; 0 where none was given it."""
    recall: Float64[Tensor, " k"]
    """Share of the places with a label that were given it; 0 where none has it."""
    f1: Float64[Tensor, " k"]
    """Their harmonic mean; 0 where both are."""
    support: Int64[Tensor, " k"]
    """How many places have it."""


def confusion(
    truth: Int64[Tensor, " n"], found: Int64[Tensor, " n"], num_labels: int
) -> Int64[Tensor, "k k"]:
    """How often each label (row) was found as each (column)."""
    return torch.bincount(truth * num_labels + found, minlength=num_labels**2).view(num_labels, num_labels)


def label_scores(counts: Int64[Tensor, "*batch k k"]) -> LabelScores:
    """The scores of each label, from a confusion or several."""
    right = counts.diagonal(dim1=-2, dim2=-1).double()
    given, support = counts.sum(-2), counts.sum(-1)
    precision = right / given.clamp(min=1)
    recall = right / support.clamp(min=1)
    f1 = 2 * right / (given + support).clamp(min=1)
    return LabelScores(precision, recall, f1, support)


def weighted(scores: LabelScores) -> Float64[Tensor, "*batch three"]:
    """Precision, recall and F1 over all labels, each as often as it is there (scikit-learn's `weighted`)."""
    share = scores.support / scores.support.sum(-1, keepdim=True).clamp(min=1)
    three = torch.stack([scores.precision, scores.recall, scores.f1], -2)
    return (three * share[..., None, :]).sum(-1)


def measure_labels(
    name: str,
    truth: Sequence[Int64[Tensor, " _"]],
    found: Sequence[Int64[Tensor, " _"]],
    *,
    num_labels: int,
    num_resamples: int = 1000,
    seed: int = 0,
) -> list[Metric]:
    """Weighted precision, recall and F1 of tracks of labels; intervals by drawing whole tracks again.

    Raises:
        ValueError: If there is not one track found for each, of its length.
    """
    if [len(one) for one in truth] != [len(one) for one in found]:
        raise ValueError("the tracks found are not as long as the true ones")
    counts = torch.stack([confusion(*pair, num_labels) for pair in zip(truth, found, strict=True)]).double()

    def score(index: int):
        return lambda rows: weighted(label_scores(rows.sum(0).long()))[index]

    return [
        measure(
            f"{name} {word}",
            score(index),
            counts,
            unit="",
            higher_is_better=True,
            num_resamples=num_resamples,
            seed=seed,
        )
        for index, word in enumerate(("precision", "recall", "F1"))
    ]
