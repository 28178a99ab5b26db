"""Mixtures of Gaussians with classes: exact densities, denoisers and classifiers at every noise level.

With x_σ = x0 + σ·ε a mixture stays a mixture, whose covariances have grown by σ²·I; so nothing here is
learned, and what guidance gets wrong is its own fault.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from melies.diffusion.guidance.classifier import classifier_branch
from melies.errors import UserError
from melies.interfaces import AttentionEdit, Branch, Condition


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mixture:
    """Weighted Gaussians in d dimensions, float64, each of a class; made by `mixture`."""

    log_weights: Float[Tensor, " k"]
    """Of shares that sum to 1."""
    means: Float[Tensor, "k d"]
    variances: Float[Tensor, "k d"]
    """Along the axes of each."""
    axes: Float[Tensor, "k d d"]
    """Of each Gaussian, as columns."""
    labels: Int64[Tensor, " k"]
    """The class of each, from 0."""

    @property
    def num_classes(self) -> int:
        """One more than the highest class."""
        return int(self.labels.max()) + 1

    def of_class(self, label: int) -> "Mixture":
        """p(x|y): the Gaussians of one class.

        Raises:
            UserError: If it has none.
        """
        chosen = self.labels == label
        if not bool(chosen.any()):
            raise UserError(f"the mixture has no Gaussian of class {label}")
        log_weights = self.log_weights[chosen]
        return Mixture(
            log_weights=log_weights - log_weights.logsumexp(0),
            means=self.means[chosen],
            variances=self.variances[chosen],
            axes=self.axes[chosen],
            labels=self.labels[chosen],
        )

    def blurred(self, sigma: float) -> "Mixture":
        """The same with noise of deviation σ added: what a model that sees less finely takes for the data."""
        return Mixture(
            log_weights=self.log_weights,
            means=self.means,
            variances=self.variances + sigma**2,
            axes=self.axes,
            labels=self.labels,
        )

    def moments(self) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
        """Mean and covariance."""
        shares = self.log_weights.exp()
        mean = shares @ self.means
        covariances = self.axes @ torch.diag_embed(self.variances) @ self.axes.mT
        off = self.means - mean
        return mean, torch.einsum("k,kij->ij", shares, covariances + off[:, :, None] * off[:, None])

    def log_density(self, x: Float[Tensor, "b d"], sigma: float | Float[Tensor, " b"] = 0.0) -> Tensor:
        """Log p(x) at noise level σ, (b,), in nats."""
        return self._log_joint(x, sigma)[0].logsumexp(1)

    def log_joint(self, x: Float[Tensor, "b d"], sigma: float | Float[Tensor, " b"] = 0.0) -> Tensor:
        """Log p(x, y) at noise level σ, (b, classes): the logits of the exact classifier p(y|x, σ)."""
        terms, _, _ = self._log_joint(x, sigma)
        return torch.stack(
            [terms[:, self.labels == label].logsumexp(1) for label in range(self.num_classes)], dim=1
        )

    def denoise(self, x: Float[Tensor, "b d"], sigma: Float[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """E[x0 | x_σ], the exact denoiser: x + σ²·∇ log p(x) (Tweedie's formula)."""
        terms, along, grown = self._log_joint(x, sigma)
        shrunk = along * (self.variances / grown)
        expected = self.means + torch.einsum("bke,kde->bkd", shrunk, self.axes)
        return torch.einsum("bk,bkd->bd", terms.softmax(1), expected)

    def _log_joint(self, x: Tensor, sigma: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log of share times density of every Gaussian (b, k); x along the axes of each; their variances."""
        noise = torch.as_tensor(sigma, dtype=x.dtype).expand(len(x)).square()
        grown = self.variances + noise[:, None, None]
        along = torch.einsum("bkd,kde->bke", x[:, None] - self.means, self.axes)
        squared = (along.square() / grown + grown.log() + math.log(2 * math.pi)).sum(2)
        return self.log_weights - 0.5 * squared, along, grown


def mixture(
    weights: list[float],
    means: list[list[float]],
    covariances: list[list[list[float]]],
    labels: list[int],
) -> Mixture:
    """A mixture from plain numbers, one entry for each Gaussian.

    Raises:
        ValueError: If there are not as many of each, a share is not above 0, or a covariance is not positive.
    """
    if len({len(weights), len(means), len(covariances), len(labels)}) != 1 or min(weights) <= 0:
        raise ValueError("a mixture needs as many shares, all above 0, as means, covariances and labels")
    shares = torch.tensor(weights, dtype=torch.float64)
    variances, axes = torch.linalg.eigh(torch.tensor(covariances, dtype=torch.float64))
    if not bool((variances > 0).all()):
        raise ValueError("covariances must be positive")
    return Mixture(
        log_weights=(shares / shares.sum()).log(),
        means=torch.tensor(means, dtype=torch.float64),
        variances=variances,
        axes=axes,
        labels=torch.tensor(labels),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExactDenoiser:
    """A mixture as a denoiser that guidance may ask."""

    mixture: Mixture

    def __call__(
        self, x: Tensor, sigma: Tensor, condition: Condition, *, attention: AttentionEdit | None = None
    ) -> Tensor:
        """E[x0 | x_σ].

        Raises:
            UserError: If attention is to be edited.
        """
        if attention is not None:
            raise UserError(
                "a mixture of Gaussians has no attention that could be edited",
                remedy="take a way of guiding that needs none",
            )
        return self.mixture.denoise(x, sigma)


def branches_of(whole: Mixture, label: int, num: int, *, weaker_by: float) -> dict[str, Branch]:
    """All that guidance may ask of a mixture, for `num` samples of one class.

    Args:
        whole: The data.
        label: The class that is asked for.
        num: Samples in a batch.
        weaker_by: Deviation of the noise that the weaker model cannot see through.

    Returns:
        "conditional", "null", "weak", "classifier", and "negative", which is the next class.
    """
    told = whole.of_class(label)
    entries = {
        "conditional": told,
        "null": whole,
        "negative": whole.of_class((label + 1) % whole.num_classes),
        "weak": told.blurred(weaker_by),
    }
    branches = {name: Branch(ExactDenoiser(mixture=entry), {}) for name, entry in entries.items()}
    branches["classifier"] = classifier_branch(whole.log_joint, torch.full((num,), label))
    return branches
