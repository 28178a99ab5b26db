"""Memorisation: do drawn samples lie nearer to training samples than new real ones do?"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from melies.errors import UserError
from melies.interfaces import Metric
from melies.metrics.interval import draw_indices, percentile_interval
from melies.metrics.measure import measure
from melies.metrics.neighbours import copied
from melies.rng import generator_for

PERCENTILE = 5.0
"""Of the real held-out distances: nearer than that to a training sample counts as a copy."""


class Memorisation(NamedTuple):
    """Nearness to the training set, beside that of real samples that were not trained on."""

    copied: Metric
    """Share of samples nearer than nearly all real ones; `PERCENTILE` % where nothing is copied."""
    ratio: Metric
    """Median distance of samples over that of real ones; 1 where nothing is copied, 0 for copies."""


def measure_memorisation(
    to_training: Float[Tensor, " n"],
    held_out_to_training: Float[Tensor, " m"],
    *,
    percentile: float = PERCENTILE,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Memorisation:
    """Distances to the nearest training row, of samples against held-out real rows; see `copied`.

    The intervals know that both sets are finite; the training set is kept as it is. Samples that
    are poor are far from everything and hide copies: read it beside a distance such as fd.

    Args:
        to_training: Distance of each sample to its nearest training row, see `nearest`.
        held_out_to_training: The same for real rows that were not trained on.
        percentile: Of the held-out distances, 0–100, below which a sample counts as copied.
        num_resamples: Bootstrap replicates.
        seed: Of the resampling.

    Raises:
        UserError: If a set is empty, or the distances cannot tell held-out rows from training rows.
    """
    distances, real = to_training.double().cpu(), held_out_to_training.double().cpu()
    if not len(distances) or not len(real):
        raise UserError("there are no distances to compare", where="memorisation")
    if not float(real.quantile(percentile / 100)) > 0:
        raise UserError(
            f"at least {percentile:g} % of the held-out rows are equal to training rows",
            where="memorisation",
            remedy="hold out what was not trained on, or use finer features",
        )
    return Memorisation(
        copied=Metric(
            name="copied",
            value=float(copied(distances, real, percentile=percentile).double().mean()),
            unit="share",
            higher_is_better=False,
            num_samples=len(distances),
            interval=percentile_interval(_share_replicates(distances, real, percentile, num_resamples, seed)),
            seed=seed,
        ),
        ratio=measure(
            "distance to training, generated ÷ held out",
            lambda ours, theirs: ours.median() / theirs.median(),
            distances,
            real,
            unit="ratio",
            higher_is_better=True,
            num_resamples=num_resamples,
            seed=seed,
        ),
    )


def _share_replicates(
    distances: Float[Tensor, " n"],
    real: Float[Tensor, " m"],
    percentile: float,
    num_resamples: int,
    seed: int,
) -> Float[Tensor, " r"]:
    """The limit from resampled held-out distances, then the share from its Beta posterior (Jeffreys).

    Resampling the samples too would show no spread where none or all are copied.
    """
    found = [
        float(copied(distances, real[rows], percentile=percentile).sum())
        for rows in draw_indices(len(real), num_resamples, seed, "held out")
    ]
    drawn = np.random.default_rng(generator_for(seed, "posterior", "copied").initial_seed())
    num = np.array(found)
    return torch.from_numpy(drawn.beta(num + 0.5, len(distances) - num + 0.5))
