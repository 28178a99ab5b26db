"""Distributions whose noisy densities, scores and denoisers are known exactly, at every σ.

With x = x0 + σ·ε, data N(μ, s²) becomes N(μ, s² + σ²), and a mixture of such stays a mixture; so
samplers, guidance and losses can be measured against the truth instead of against each other.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from melies.interfaces import AttentionEdit, Condition


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GaussianTruth:
    """Data N(mean, std²·I). The call is a bound denoiser, `(x, sigma) → x0_hat`."""

    mean: Float[Tensor, " *event"]
    """Mean of x0, of the shape of one sample."""
    std: float
    """Standard deviation of x0, in units of x0; at least 0."""

    def __call__(self, x: Float[Tensor, "b *event"], sigma: Float[Tensor, " b"]) -> Float[Tensor, "b *event"]:
        """E[x0 | x] = (s²·x + σ²·μ)/(s² + σ²)."""
        noise = _column(sigma, x).square()
        return (self.std**2 * x + noise * self.mean) / (self.std**2 + noise)

    def transport(
        self, x: Float[Tensor, "b *event"], sigma: float, sigma_next: float
    ) -> Float[Tensor, "b *event"]:
        """Where the probability-flow ODE takes x from one level to another."""
        ratio = (self.std**2 + sigma_next**2) / (self.std**2 + sigma**2)
        return self.mean + (x - self.mean) * math.sqrt(ratio)

    def score(self, x: Float[Tensor, "b *event"], sigma: Float[Tensor, " b"]) -> Float[Tensor, "b *event"]:
        """∇ log p(x) at level σ."""
        return (self.mean - x) / (self.std**2 + _column(sigma, x).square())

    def log_density(self, x: Float[Tensor, "b *event"], sigma: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Log p(x) at level σ, in nats."""
        variance = self.std**2 + sigma.square()
        squared = (x - self.mean).flatten(1).square().sum(1)
        return -0.5 * (squared / variance + self.mean.numel() * (2 * math.pi * variance).log())

    def sample(self, count: int, generator: torch.Generator) -> Float[Tensor, "b *event"]:
        """`count` draws of x0."""
        epsilon = torch.randn(count, *self.mean.shape, generator=generator, dtype=self.mean.dtype)
        return self.mean + self.std * epsilon


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MixtureTruth:
    """Data from a mixture of round Gaussians, each of which belongs to a class.

    The call is a `Denoiser`: with `"class"` in the condition it is exact for that class alone, and
    without it, or where `"present.class"` is False, for the whole mixture.
    """

    weights: Float[Tensor, " k"]
    """Shares of the components, above 0, of sum 1."""
    means: Float[Tensor, "k d"]
    """Their means."""
    stds: Float[Tensor, " k"]
    """Their standard deviations, at least 0."""
    classes: Int64[Tensor, " k"]
    """The class that each belongs to, from 0."""

    def __post_init__(self) -> None:
        """Check the weights."""
        if not bool((self.weights > 0).all()) or not math.isclose(float(self.weights.sum()), 1, abs_tol=1e-6):
            raise ValueError(f"weights must be above 0 and sum to 1, got {self.weights.tolist()}")

    def __call__(
        self,
        x: Float[Tensor, "b d"],
        sigma: Float[Tensor, " b"],
        condition: Condition,
        *,
        attention: AttentionEdit | None = None,
    ) -> Float[Tensor, "b d"]:
        """E[x0 | x, class]: the components' denoisers, averaged by `responsibilities`."""
        share = self.responsibilities(x, sigma, condition)[..., None]
        variance, noise = self.stds.square()[:, None], sigma.square()[:, None, None]
        each = (variance * x[:, None] + noise * self.means) / (variance + noise)
        return (share * each).sum(1)

    def responsibilities(
        self, x: Float[Tensor, "b d"], sigma: Float[Tensor, " b"], condition: Condition
    ) -> Float[Tensor, "b k"]:
        """P(component | x) at level σ."""
        return self._log_joint(x, sigma, condition).softmax(1)

    def score(
        self, x: Float[Tensor, "b d"], sigma: Float[Tensor, " b"], condition: Condition
    ) -> Float[Tensor, "b d"]:
        """∇ log p(x | class) at level σ."""
        variance = (self.stds.square() + sigma[:, None].square())[..., None]
        share = self.responsibilities(x, sigma, condition)[..., None]
        return (share * (self.means - x[:, None]) / variance).sum(1)

    def log_density(
        self, x: Float[Tensor, "b d"], sigma: Float[Tensor, " b"], condition: Condition
    ) -> Float[Tensor, " b"]:
        """Log p(x | class) at level σ, in nats."""
        return self._log_joint(x, sigma, condition).logsumexp(1)

    def class_probability(
        self, x: Float[Tensor, "b d"], sigma: Float[Tensor, " b"]
    ) -> Float[Tensor, "b num_classes"]:
        """P(class | x) at level σ: the perfect noise-aware classifier."""
        share = self.responsibilities(x, sigma, {})
        total = share.new_zeros(len(x), int(self.classes.max()) + 1)
        return total.index_add(1, self.classes, share)

    def sample(self, count: int, condition: Condition, generator: torch.Generator) -> Float[Tensor, "b d"]:
        """`count` draws of x0; a condition holds one row per draw."""
        share = self._log_weights(count, condition).exp()
        chosen = torch.multinomial(share, 1, generator=generator).squeeze(1)
        epsilon = torch.randn(count, self.means.shape[1], generator=generator, dtype=self.means.dtype)
        return self.means[chosen] + self.stds[chosen, None] * epsilon

    def _log_joint(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        variance = self.stds.square() + sigma[:, None].square()
        squared = (x[:, None] - self.means).square().sum(-1)
        log_normal = -0.5 * (squared / variance + x.shape[1] * (2 * math.pi * variance).log())
        return self._log_weights(len(x), condition).to(x) + log_normal

    def _log_weights(self, count: int, condition: Condition) -> Tensor:
        whole = self.weights.log().expand(count, -1)
        if "class" not in condition:
            return whole
        inside = self.classes == condition["class"][:, None]
        if not bool(inside.any(1).all()):
            raise ValueError(f"a class of {condition['class'].tolist()} has no component")
        within = whole.masked_fill(~inside, -math.inf).log_softmax(1)
        present = condition.get("present.class")
        return within if present is None else torch.where(present[:, None], within, whole)


def _column(sigma: Tensor, x: Tensor) -> Tensor:
    return sigma.view(-1, *[1] * (x.ndim - 1))
