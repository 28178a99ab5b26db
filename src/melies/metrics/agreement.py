"""Agreement with the prompt: does an independent classifier see what was asked for?"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from melies.errors import UserError
from melies.interfaces import Metric
from melies.metrics.interval import draw_indices, percentile_interval, wilson_interval
from melies.rng import generator_for


class Agreement(NamedTuple):
    """A classifier's accuracy on generated samples, beside what it manages on real ones."""

    generated: Metric
    """Share of generated samples classified as what was asked for."""
    real: Metric
    """Share of real held-out samples classified as what they are: the classifier's own limit."""
    ratio: Metric
    """Generated ÷ real; may exceed 1, for models draw typical examples."""


def agreement(
    name: str,
    *,
    predicted: Int[Tensor, " n"],
    asked: Int[Tensor, " n"],
    real_predicted: Int[Tensor, " m"],
    real_labels: Int[Tensor, " m"],
    groups: Int[Tensor, " n"] | None = None,
    real_groups: Int[Tensor, " m"] | None = None,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Agreement:
    """Accuracy on generated samples, on real ones, and their ratio, each with a 95 % interval.

    Args:
        name: What is agreed upon, for example `"skin tone, held-out"`.
        predicted: Class seen in each generated sample.
        asked: Class asked for in its prompt.
        real_predicted: Class seen in each real sample that the classifier was not trained on.
        real_labels: Its true class.
        groups: Number of the prompt that each sample was drawn from. Pictures of one prompt tend
            to be right or wrong together; with groups, prompts are resampled, not pictures.
        real_groups: The same for real samples that are not independent.
        num_resamples: Bootstrap replicates for the ratio.
        seed: Of the resampling.

    Raises:
        UserError: If a set is empty, or the classifier is never right on real samples.
    """
    right, real_right = predicted == asked, real_predicted == real_labels
    for title, entries in (("generated", right), ("real", real_right)):
        if not len(entries):
            raise UserError(f"there are no {title} samples to classify", where=name)
    if not real_right.any():
        raise UserError(
            "the classifier is wrong on every real sample, so its verdict means nothing", where=name
        )
    generated = _accuracy(f"{name}, generated", right, groups, num_resamples, seed)
    real = _accuracy(f"{name}, real", real_right, real_groups, num_resamples, seed)
    replicates = accuracy_replicates(
        right, groups, num_resamples=num_resamples, seed=seed, name="generated"
    ) / accuracy_replicates(real_right, real_groups, num_resamples=num_resamples, seed=seed, name="real")
    ratio = Metric(
        name=f"{name}, generated ÷ real",
        value=generated.value / real.value,
        unit="ratio",
        higher_is_better=True,
        num_samples=len(right),
        interval=percentile_interval(replicates[~replicates.isnan()]),
        seed=seed,
    )
    return Agreement(generated, real, ratio)


def accuracy_replicates(
    right: Bool[Tensor, " n"],
    groups: Int[Tensor, " n"] | None = None,
    *,
    num_resamples: int = 2000,
    seed: int = 0,
    name: str = "",
) -> Float[Tensor, " r"]:
    """Bootstrap replicates of an accuracy; whole groups are resampled where they are given.

    Where all answers agree resampling shows no spread at all, which would pretend certainty:
    then the replicates are drawn from the Beta posterior of Jeffreys' prior, a group counting once.
    """
    correct, sizes = _by_group(right, groups)
    if bool(right.all()) or not bool(right.any()):
        drawn = np.random.default_rng(generator_for(seed, "posterior", name).initial_seed())
        wins = len(sizes) if bool(right.all()) else 0
        return torch.from_numpy(drawn.beta(wins + 0.5, len(sizes) - wins + 0.5, num_resamples))
    found = [
        correct[indices].sum() / sizes[indices].sum()
        for indices in draw_indices(len(sizes), num_resamples, seed, name)
    ]
    return torch.stack(found)


def _accuracy(name: str, right: Tensor, groups: Tensor | None, num_resamples: int, seed: int) -> Metric:
    """A share with Wilson's interval, or one from resampled groups where there are groups."""
    num_right = int(right.sum())
    if groups is None:
        interval = wilson_interval(num_right, len(right))
    else:
        replicates = accuracy_replicates(right, groups, num_resamples=num_resamples, seed=seed, name=name)
        interval = percentile_interval(replicates)
    return Metric(
        name=name,
        value=num_right / len(right),
        unit="share",
        higher_is_better=True,
        num_samples=len(right),
        interval=interval,
        seed=seed,
    )


def _by_group(right: Tensor, groups: Tensor | None) -> tuple[Tensor, Tensor]:
    """Right answers and samples of each group, float64 (g,); every sample by itself without groups."""
    right = right.double().cpu()
    if groups is None:
        return right, torch.ones_like(right)
    _, number = groups.cpu().unique(return_inverse=True)
    sizes = torch.bincount(number).double()
    return torch.zeros_like(sizes).index_add_(0, number, right), sizes
