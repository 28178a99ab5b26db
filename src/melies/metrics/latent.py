"""What a VAE's latent elements are used for: KL of each, active units, posterior collapse."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from melies.errors import UserError
from melies.gaussian import standard_kl
from melies.interfaces import Metric
from melies.metrics.features import as_matrix, as_pair
from melies.metrics.measure import measure

ACTIVE_VARIANCE = 0.01
"""Variance of the posterior mean over the data from which a unit counts as active (Burda et al. 2016)."""


class LatentUse(NamedTuple):
    """How the elements of a latent are used over a data set."""

    kl: Float[Tensor, " d"]
    """Mean KL(q(z_j|x) ‖ N(0, 1)) of each element, in nats; they sum to the KL of the bound."""
    active: Bool[Tensor, " d"]
    """Which elements change with the picture."""

    @property
    def statement(self) -> str:
        """In a sentence, whether the posterior has collapsed to the prior."""
        num, num_active = len(self.active), int(self.active.sum())
        if num_active == num:
            return f"all {num} latent elements are active"
        if not num_active:
            return f"the posterior has collapsed: none of {num} latent elements is active"
        return f"{num - num_active} of {num} latent elements have collapsed to the prior"


def kl_per_dimension(means: Float[Tensor, "n d"], logvars: Float[Tensor, "n d"]) -> Float[Tensor, " d"]:
    """Mean KL(N(mean, exp logvar) ‖ N(0, 1)) of each element over the n samples, in nats."""
    means, logvars = _checked(means, logvars)
    return standard_kl(means, logvars).mean(0)


def active_units(means: Float[Tensor, "n d"], *, threshold: float = ACTIVE_VARIANCE) -> Bool[Tensor, " d"]:
    """Which elements have a posterior mean that varies over the data: Var_x E[z_j|x] > threshold.

    Raises:
        UserError: If there are fewer than two samples, or one is not finite.

    Source: Burda et al. (2016), §5.2.
    """
    return as_matrix(means, "posterior means", least=2).double().var(0) > threshold


def latent_use(
    means: Float[Tensor, "n d"], logvars: Float[Tensor, "n d"], *, threshold: float = ACTIVE_VARIANCE
) -> LatentUse:
    """KL and activity of each element, from the posteriors N(mean, exp logvar) of n samples."""
    return LatentUse(kl_per_dimension(means, logvars), active_units(means, threshold=threshold))


def measure_latent_use(
    means: Float[Tensor, "n d"],
    logvars: Float[Tensor, "n d"],
    *,
    threshold: float = ACTIVE_VARIANCE,
    num_resamples: int = 1000,
    seed: int = 0,
) -> tuple[Metric, Metric]:
    """Number of active units, and mean KL of a sample in nats, with bootstrap intervals over samples.

    More of either is neither better nor worse by itself; a unit that is not active is of no use.
    """
    means, logvars = _checked(means, logvars)

    def num_active(rows: Tensor) -> Tensor:
        return (rows.var(0) > threshold).sum()

    rest = {"higher_is_better": None, "num_resamples": num_resamples, "seed": seed}
    return (
        measure("active units", num_active, means, unit="units", **rest),
        measure("kl", torch.mean, standard_kl(means, logvars).sum(1), unit="nats", **rest),
    )


def _checked(means: Tensor, logvars: Tensor) -> tuple[Tensor, Tensor]:
    if not means.shape[1]:
        raise UserError("a latent of size 0 holds nothing", where="posterior means")
    means, logvars = as_pair(means, logvars, ("posterior means", "posterior log-variances"), least=2)
    if len(means) != len(logvars):
        raise ValueError(f"{len(means)} posterior means and {len(logvars)} log-variances")
    return means.double(), logvars.double()
