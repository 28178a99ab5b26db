"""Mixtures of Gaussians fitted to latents: a prior after the fact, for what was trained without one.

Source: Ghosh et al. (2020), "From variational to deterministic autoencoders", §4.
"""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from melies.config import check_positive
from melies.errors import UserError
from melies.rng import generator_for

Covariance = Literal["diagonal", "full"]

_LEAST_VARIANCE = 1e-6
"""Added to every variance, as a share of the mean variance of the data, so that none shuts itself up."""


class Mixture(NamedTuple):
    """Σ_k w_k·N(m_k, L_k·L_kᵀ)."""

    weights: Float[Tensor, " k"]
    """Shares, of sum 1."""
    means: Float[Tensor, "k d"]
    factors: Float[Tensor, "k d d"]
    """L, lower triangular."""

    def log_density(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Log p(x), in nats."""
        return _log_joint(self, x).logsumexp(1)

    def draw(self, epsilon: Float[Tensor, "n d"], uniform: Float[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """One draw from each standard normal ε, of the Gaussian that a number in [0, 1] picks."""
        ends = self.weights.cumsum(0)
        chosen = torch.searchsorted(ends / ends[-1], uniform.contiguous()).clamp(max=len(ends) - 1)
        return self.means[chosen] + (self.factors[chosen] @ epsilon[..., None]).squeeze(-1)


def fit_mixture(
    x: Float[Tensor, "n d"],
    *,
    components: int = 1,
    covariance: Covariance = "full",
    num_iterations: int = 100,
    tolerance: float = 1e-4,
    seed: int = 0,
) -> Mixture:
    """The mixture of greatest likelihood that expectation maximisation finds, in float64.

    Means start at points of the data that are far apart (Arthur & Vassilvitskii 2007, k-means++). With
    one component it is the Gaussian of the data's mean and covariance.

    Args:
        x: Finite, and more of them than components.
        components: How many Gaussians.
        covariance: "full", or "diagonal" for independent elements.
        num_iterations: At most.
        tolerance: It ends where the mean log-density, in nats, rises by less.
        seed: Of the start.

    Raises:
        UserError: If there are too few latents, or some that are not finite.
    """
    check_positive("components", components)
    if len(x) <= components:
        raise UserError(
            f"{len(x)} latents are too few for a mixture of {components} Gaussians",
            remedy="bring more pictures, or take fewer components",
        )
    if not bool(torch.isfinite(x).all()):
        raise UserError(
            "latents to fit a prior to are not finite", remedy="train again with a lower learning rate"
        )
    x = x.detach().double().cpu()
    least = _LEAST_VARIANCE * float(x.var(0, correction=0).mean().clamp(min=1e-12))
    mixture = _start(x, components, covariance, least, generator_for(seed, "mixture"))
    before = -math.inf
    for _ in range(num_iterations if components > 1 else 0):
        joint = _log_joint(mixture, x)
        density = joint.logsumexp(1)
        mixture = _maximize(x, (joint - density[:, None]).exp(), covariance, least)
        if float(density.mean()) - before < tolerance:
            break
        before = float(density.mean())
    return mixture


def _start(x: Tensor, components: int, covariance: Covariance, least: float, rng: torch.Generator) -> Mixture:
    centres = x[torch.randint(len(x), (1,), generator=rng)]
    for _ in range(components - 1):
        distance = torch.cdist(x, centres).amin(1).square()
        if not bool(distance.any()):  # fewer different points than components
            distance = torch.ones_like(distance)
        centres = torch.cat([centres, x[torch.multinomial(distance, 1, generator=rng)]])
    nearest = torch.cdist(x, centres).argmin(1)
    return _maximize(x, torch.eye(components).double()[nearest], covariance, least)


def _maximize(x: Tensor, share: Float[Tensor, "n k"], covariance: Covariance, least: float) -> Mixture:
    """Weights, means and covariances of the data, each row belonging to components by its shares."""
    count = share.sum(0).clamp(min=1e-9)
    means = share.T @ x / count[:, None]
    factors = []
    for k, mean in enumerate(means):  # one at a time: memory does not grow with the components
        away = x - mean
        if covariance == "full":
            spread = (share[:, k, None] * away).T @ away / count[k]
            factors.append(torch.linalg.cholesky(spread + least * torch.eye(x.shape[1]).double()))
        else:
            factors.append(torch.diag((share[:, k] @ away.square() / count[k] + least).sqrt()))
    return Mixture(count / count.sum(), means, torch.stack(factors))


def _log_joint(mixture: Mixture, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
    columns = []
    for weight, mean, factor in zip(*mixture, strict=True):
        white = torch.linalg.solve_triangular(factor, (x - mean).T, upper=False)
        log_volume = factor.diagonal().log().sum() + 0.5 * x.shape[1] * math.log(2 * math.pi)
        columns.append(weight.log() - log_volume - 0.5 * white.square().sum(0))
    return torch.stack(columns, 1)
