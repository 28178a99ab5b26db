"""Denoising loss: where σ is drawn from, how errors at different σ weigh, and condition drop-out.

Every weight here multiplies the squared error of x0. An error of x0 is an error of ε times −σ
(x0_hat = x − σ·ε_hat), so |ε_hat − ε|² = |x0_hat − x0|²/σ²; other published losses convert alike.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from melies.config import check_range
from melies.diffusion.adapt import sigma_from_alpha_bar
from melies.diffusion.precondition import per_sample
from melies.interfaces import Condition, Denoiser


def log_normal(
    count: int,
    generator: torch.Generator,
    *,
    P_mean: float = -1.2,  # noqa: N803 (the paper's symbols)
    P_std: float = 1.2,  # noqa: N803
) -> Float[Tensor, " b"]:
    """`count` draws of σ with log σ ~ N(P_mean, P_std²) (Karras et al. 2022, Table 1)."""
    return (P_mean + P_std * torch.randn(count, generator=generator)).exp()


def log_uniform(
    count: int, generator: torch.Generator, *, sigma_min: float, sigma_max: float
) -> Float[Tensor, " b"]:
    """`count` draws of σ with log σ even between the ends: every level as often, in steps of a factor."""
    low, high = math.log(sigma_min), math.log(sigma_max)
    return (low + (high - low) * torch.rand(count, generator=generator)).exp()


def discrete(
    count: int, generator: torch.Generator, *, alpha_bar: Float[Tensor, " t"]
) -> Float[Tensor, " b"]:
    """`count` draws of σ at uniform DDPM timesteps (Ho et al. 2020, Algorithm 1): σ² = (1 − ᾱ_t)/ᾱ_t."""
    t = torch.randint(len(alpha_bar), (count,), generator=generator)
    return sigma_from_alpha_bar(alpha_bar.cpu().double()[t]).float()


def simple(sigma: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Weight 1/σ²: the plain squared error of ε (Ho et al. 2020, eq. 14)."""
    return sigma.square().reciprocal()


def edm(sigma: Float[Tensor, " b"], *, sigma_data: float) -> Float[Tensor, " b"]:
    """Weight (σ² + σ_data²)/(σ·σ_data)² = 1/c_out²: the plain squared error of the network's output.

    Source: Karras et al. (2022), Table 1.
    """
    return (sigma.square() + sigma_data**2) / (sigma * sigma_data).square()


def flow(sigma: Float[Tensor, " b"], *, sigma_data: float) -> Float[Tensor, " b"]:
    """Weight ((1 + s)/σ)² with s = σ/σ_data: the plain squared error of the velocity at unit variance of x0.

    With log σ ~ N(log σ_data, 1) flow time is logit-normal, as of Esser et al. (2024), eq. 19.
    Source: Liu et al. (2023), eq. 1.
    """
    return ((1 + sigma / sigma_data) / sigma).square()


def min_snr(sigma: Float[Tensor, " b"], *, gamma: float = 5.0) -> Float[Tensor, " b"]:
    """Weight min(SNR, γ) with SNR = 1/σ²: the simple loss with small σ held back.

    In the error of ε the same weight reads min(SNR, γ)/SNR.
    Source: Hang et al. (2023), "Efficient diffusion training via min-SNR weighting strategy", §3.4.
    """
    return sigma.square().reciprocal().clamp(max=gamma)


def denoising_loss(
    denoiser: Denoiser,
    x0: Float[Tensor, "b *event"],
    condition: Condition,
    *,
    sigma: Float[Tensor, " b"],
    epsilon: Float[Tensor, "b *event"],
    weight: Float[Tensor, " b"],
    valid: Bool[Tensor, "b n"] | None = None,
) -> Float[Tensor, " b"]:
    """Weighted squared error of x0, averaged over the elements of each sample; not over the batch.

    Args:
        denoiser: What is trained.
        x0: Clean samples.
        condition: Their conditions, drop-out already applied.
        sigma: One noise level per sample, above 0.
        epsilon: Standard normal noise.
        weight: From `simple`, `edm`, `flow` or `min_snr` at the same `sigma`.
        valid: Which places of the last axis count, of each sample at least one; all where none is given.
    """
    predicted = denoiser(x0 + per_sample(sigma, x0) * epsilon, sigma, condition)
    error = (predicted - x0).square()
    if valid is None:
        return weight.to(x0) * error.flatten(1).mean(1)
    counts = valid.view(len(valid), *[1] * (x0.ndim - 2), -1).expand_as(x0).to(error)
    return weight.to(x0) * (error * counts).flatten(1).sum(1) / counts.flatten(1).sum(1)


def drop_condition(
    condition: Condition,
    names: Sequence[str],
    generator: torch.Generator,
    *,
    joint: float = 0.0,
    independent: float | Mapping[str, float] = 0.0,
) -> dict[str, Tensor]:
    """Replace some conditions by their null, as training for classifier-free guidance needs.

    Sets `present.<name>` to False for the rows drawn; what was absent already stays absent.

    Args:
        condition: Of one batch.
        names: Which conditions may be dropped: `("text",)`, `("text", "class")` …
        generator: On the CPU; draws the same numbers whatever the probabilities are.
        joint: Probability in [0, 1] that a row loses all of `names` at once.
        independent: Probability in [0, 1] that a row loses one name, each name by itself; one
            number for all, or one per name.

    Raises:
        UserError: If a probability is out of range.
        ValueError: If the condition has no entry for a name.

    Source: Ho & Salimans (2022), Algorithm 1 (joint); Brooks et al. (2023), §3.2 (independent).
    """
    check_range("joint", joint, low=0, high=1)
    first = next(iter(condition.values()))
    together = torch.rand(len(first), generator=generator) < joint
    dropped = dict(condition)
    for name in names:
        if not any(key == name or key.startswith(f"{name}_") for key in condition):
            raise ValueError(f"the condition has no {name!r}; it has {', '.join(condition)}")
        alone = independent.get(name, 0.0) if isinstance(independent, Mapping) else independent
        check_range(f"independent.{name}", alone, low=0, high=1)
        lost = together | (torch.rand(len(first), generator=generator) < alone)
        kept = ~lost.to(first.device)
        present = condition.get(f"present.{name}")
        dropped[f"present.{name}"] = kept if present is None else present & kept
    return dropped
