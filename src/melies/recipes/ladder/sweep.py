"""Posterior collapse, shown: the same VAE at several weights of the KL term."""

from collections.abc import Mapping

from melies.data.images import ImageSet
from melies.images.families import Family
from melies.images.inside import measure_posterior
from melies.interfaces import Metric

SWEEP = "vae-beta"
"""The record of the sweep."""


def measure_sweep(families: Mapping[float, Family], test: ImageSet, *, seed: int) -> list[Metric]:
    """Active units and KL of every VAE that was trained, β in their names."""
    return [
        metric._replace(name=f"{metric.name}, β = {beta:g}")
        for beta, family in families.items()
        for metric in measure_posterior(family, test, seed=seed)
    ]
