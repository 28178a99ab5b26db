"""Mode coverage: which classes a model draws, and how often, as an independent classifier sees them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from melies.config import check_range
from melies.errors import UserError
from melies.interfaces import Metric
from melies.metrics.interval import bootstrap, wilson_interval
from melies.metrics.measure import measure_share, recentred_metric


class Modes(NamedTuple):
    """How samples spread over the classes."""

    shares: tuple[Metric, ...]
    """Share of each class, in the order of the classes, with Wilson's interval."""
    least: Metric
    """Share of the least frequent class; 1/k at best. Of few samples it is too low by chance alone.

    Which class that is was picked by the samples, so its interval is one of those of all classes that hold
    together at 95 %.
    """
    entropy: Metric
    """Entropy of the classes in nats, log k at best."""


def class_shares(predicted: Int[Tensor, " n"], num_classes: int) -> Float[Tensor, " k"]:
    """Share of each class among samples, float64; they sum to 1.

    Raises:
        UserError: If there are no samples or no classes.
        ValueError: If a class is not one of them.
    """
    check_range("num_classes", num_classes, low=1)
    if not len(predicted):
        raise UserError("there are no samples to classify", where="modes")
    counts = torch.bincount(predicted.long().cpu(), minlength=num_classes)
    if len(counts) > num_classes:
        raise ValueError(f"class {len(counts) - 1} of {num_classes}")
    return counts.double() / len(predicted)


def class_entropy(shares: Float[Tensor, " k"]) -> float:
    """Entropy of shares, in nats: 0 for a single class, log k for all alike."""
    return float(torch.special.entr(shares.double()).sum())


def measure_modes(
    predicted: Int[Tensor, " n"],
    classes: Sequence[str],
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Modes:
    """Shares of the classes, the least of them, and their entropy, with intervals.

    The samples must have been drawn without asking for classes, or asking for all alike. The
    classifier's own mistakes move shares towards each other: beside these numbers belong those of
    equally many real samples.

    Args:
        predicted: Class that the classifier sees in each sample, a number of `classes`.
        classes: Their names.
        num_resamples: Bootstrap replicates for the entropy.
        seed: Of the resampling.

    Raises:
        UserError: If there are no samples.
    """
    shares = class_shares(predicted, len(classes))
    entropies = bootstrap(
        lambda rows: class_entropy(class_shares(predicted[rows], len(classes))),
        len(predicted),
        num_resamples=num_resamples,
        seed=seed,
    )
    of_class = [measure_share(f"share of {name}", predicted == number) for number, name in enumerate(classes)]
    return Modes(
        shares=tuple(of_class),
        least=_least(of_class),
        entropy=recentred_metric(
            "class entropy",
            class_entropy(shares),
            entropies,
            unit="nats",
            higher_is_better=True,
            num_samples=len(predicted),
            seed=seed,
            least=0.0,
            most=math.log(len(classes)),
        ),
    )


def _least(shares: Sequence[Metric]) -> Metric:
    """The least of some shares of as many samples, with Bonferroni's correction for having picked it."""
    least = min(shares, key=lambda share: share.value)
    count = round(least.value * least.num_samples)
    interval = wilson_interval(count, least.num_samples, level=1 - 0.05 / len(shares))
    return least._replace(name="least frequent class", interval=interval)
