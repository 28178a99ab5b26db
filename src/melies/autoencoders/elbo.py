"""The evidence lower bound and its relatives, as pure functions of densities in nats.

log p(x) ≥ E_q(z|x)[log p(x|z)] − KL(q(z|x) ‖ p(z)), q Gaussian with independent elements, p(z) = N(0, 1).
Source: Kingma & Welling (2014), "Auto-encoding variational Bayes".
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from melies.gaussian import standard_kl


class Posterior(NamedTuple):
    """q(z|x) of n pictures."""

    mean: Float[Tensor, "n d"]
    logvar: Float[Tensor, "n d"]
    """Logarithm of the variance."""

    def draw(self, epsilon: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """A draw, mean + σ·ε, with a gradient, for ε standard normal (Kingma & Welling 2014, §2.4)."""
        return self.mean + (0.5 * self.logvar).exp() * epsilon

    def kl(self) -> Float[Tensor, "n d"]:
        """KL(q(z_j|x) ‖ p(z_j)) of each element, in nats."""
        return standard_kl(self.mean, self.logvar)


def elbo(log_likelihood: Float[Tensor, " b"], kl: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
    """The bound on log p(x), in nats, from one draw of q (Kingma & Welling 2014, eq. 3)."""
    return log_likelihood - kl.sum(1)


def free_bits(kl: Float[Tensor, "b d"], floor: float) -> Float[Tensor, " d"]:
    """Mean KL of each element, but at least `floor` nats, below which nothing pulls at it.

    Source: Kingma et al. (2016), "Improved variational inference with inverse autoregressive flow".
    """
    return kl.mean(0).clamp(min=floor)


def beta_loss(
    log_likelihood: Float[Tensor, " b"], kl: Float[Tensor, "b d"], *, beta: float = 1.0, floor: float = 0.0
) -> Float[Tensor, ""]:
    """−E[log p(x|z)] + β·KL, in nats per picture: minus the bound at β = 1 without free bits.

    With a class in both densities it is the loss of the conditional VAE,
    −E_q(z|x,c)[log p(x|z,c)] + β·KL(q(z|x,c) ‖ p(z)) (after Sohn et al. 2015, with a prior that does
    not know the class).

    Args:
        log_likelihood: log p(x|z) at a draw of q, in nats.
        kl: Of each element of the latent.
        beta: Weight of the KL term, at least 0 (Higgins et al. 2017).
        floor: Free bits of each element, in nats.
    """
    return -log_likelihood.mean() + beta * free_bits(kl, floor).sum()


def log_ratio(
    posterior: Posterior, epsilon: Float[Tensor, "n k d"]
) -> tuple[Float[Tensor, "n k d"], Float[Tensor, "n k"]]:
    """Draws of every posterior from ε, k of each, and log p(z) − log q(z|x) of each, in nats.

    With log p(x|z) added these are log-weights, of which logsumexp − log k is a bound on log p(x)
    that rises with k (Burda et al. 2016, eq. 8).
    """
    mean, logvar = posterior.mean[:, None], posterior.logvar[:, None]
    latents = mean + (0.5 * logvar).exp() * epsilon
    return latents, 0.5 * (epsilon.square() + logvar - latents.square()).sum(-1)
