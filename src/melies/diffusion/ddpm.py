"""The equations of DDPM in their own coordinates, x_t = √ᾱ_t·x0 + √(1−ᾱ_t)·ε, as pure functions.

T timesteps, counted 0 … T−1 in code where the papers count 1 … T, so index 0 is the step to clean
data. Tables are float64 of length T; `t` (b,) holds one index per sample. Sampling and guidance
work in σ instead; `melies.diffusion.adapt` converts.

Sources: Ho et al. (2020), "Denoising diffusion probabilistic models"; Nichol & Dhariwal (2021),
"Improved denoising diffusion probabilistic models".
"""

import math
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from melies.config import check_positive, check_range
from melies.gaussian import log_level_mass

Table: TypeAlias = Float[Tensor, " t"]
Samples: TypeAlias = Float[Tensor, "b *event"]
Timesteps: TypeAlias = Int64[Tensor, " b"]


class Gaussian(NamedTuple):
    """A Gaussian with independent elements."""

    mean: Tensor
    variance: Tensor
    """In a shape that broadcasts with the mean."""


# Noise schedules


def linear_betas(num_steps: int, *, first: float = 1e-4, last: float = 0.02) -> Table:
    """β_t rising evenly from `first` to `last` (Ho et al. 2020, §4, where T = 1000)."""
    check_range("num_steps", num_steps, low=1)
    check_range("first", first, low=0, high=last, low_open=True)
    check_range("last", last, low=first, high=1)
    return torch.linspace(first, last, num_steps, dtype=torch.float64)


def cosine_betas(num_steps: int, *, offset: float = 0.008, largest: float = 0.999) -> Table:
    """β_t for which ᾱ falls like a squared cosine (Nichol & Dhariwal 2021, eq. 17).

    Args:
        num_steps: T.
        offset: s of the paper; keeps β_t near t = 0 from being too small.
        largest: β_t is cut there, which avoids a singularity at t = T.
    """
    check_range("num_steps", num_steps, low=1)
    check_positive("offset", offset)
    check_range("largest", largest, low=0, high=1, low_open=True)
    time = torch.linspace(0, 1, num_steps + 1, dtype=torch.float64)
    f = ((time + offset) / (1 + offset) * math.pi / 2).cos().square()
    return (1 - f[1:] / f[:-1]).clamp(max=largest)


def alpha_bars(betas: Table) -> Table:
    """ᾱ_t = Π_{i ≤ t} (1 − β_i): the share of signal variance left after t."""
    return (1 - betas).cumprod(0)


def alpha_bars_before(betas: Table) -> Table:
    """ᾱ_{t−1}, which is 1 before the first step."""
    alpha_bar = alpha_bars(betas)
    return torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])


# The forward process


def q_step(x: Samples, t: Timesteps, betas: Table, epsilon: Samples) -> Samples:
    """A draw of q(x_t | x_{t−1}) = N(√(1−β_t)·x_{t−1}, β_t) (Ho et al. 2020, eq. 2)."""
    beta = _at(betas, t, x)
    return (1 - beta).sqrt() * x + beta.sqrt() * epsilon


def q_sample(x0: Samples, t: Timesteps, betas: Table, epsilon: Samples) -> Samples:
    """The shortcut: a draw of q(x_t | x_0) = N(√ᾱ_t·x_0, 1 − ᾱ_t) (Ho et al. 2020, eq. 4)."""
    alpha_bar = _at(alpha_bars(betas), t, x0)
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * epsilon


def q_posterior(x0: Samples, x: Samples, t: Timesteps, betas: Table) -> Gaussian:
    """q(x_{t−1} | x_t, x_0), of variance β̃_t (Ho et al. 2020, eq. 6 and 7)."""
    beta = _at(betas, t, x)
    alpha_bar, before = _at(alpha_bars(betas), t, x), _at(alpha_bars_before(betas), t, x)
    mean = (before.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - before) * x) / (1 - alpha_bar)
    return Gaussian(mean, beta * (1 - before) / (1 - alpha_bar))


def predicted_x0(x: Samples, t: Timesteps, betas: Table, epsilon: Samples) -> Samples:
    """The x_0 that a predicted ε stands for: the shortcut solved for x_0 (Ho et al. 2020, eq. 15)."""
    alpha_bar = _at(alpha_bars(betas), t, x)
    return (x - (1 - alpha_bar).sqrt() * epsilon) / alpha_bar.sqrt()


# The reverse Gaussian p(x_{t−1} | x_t) = N(mean(x_t, t), variance)


def reverse_mean(x: Samples, t: Timesteps, betas: Table, epsilon: Samples) -> Samples:
    """Mean of the reverse step, (x_t − β_t/√(1−ᾱ_t)·ε)/√α_t (Ho et al. 2020, eq. 11).

    It equals the mean of `q_posterior` at `predicted_x0`.
    """
    beta, alpha_bar = _at(betas, t, x), _at(alpha_bars(betas), t, x)
    return (x - beta / (1 - alpha_bar).sqrt() * epsilon) / (1 - beta).sqrt()


def fixed_small(betas: Table) -> Table:
    """β̃_t: right if the data is one point (Ho et al. 2020, §3.2); 0 at the first timestep."""
    return betas * (1 - alpha_bars_before(betas)) / (1 - alpha_bars(betas))


def fixed_large(betas: Table) -> Table:
    """β_t: right if the data is N(0, 1) (Ho et al. 2020, §3.2)."""
    return betas


def learned_variance(interpolation: Samples, t: Timesteps, betas: Table) -> Samples:
    """exp(v·log β_t + (1 − v)·log β̃_t), v = (interpolation + 1)/2 (Nichol & Dhariwal 2021, eq. 15).

    Args:
        interpolation: The network's extra channels: −1 for the small variance, 1 for the large.
        t: Timesteps.
        betas: β_t; at the first timestep, where β̃ is 0, the β̃ of the second is taken.
    """
    small = fixed_small(betas)
    low = torch.cat([small[1:2], small[1:]]) if len(betas) > 1 else betas
    v = (interpolation + 1) / 2
    return (v * _at(betas.log(), t, v) + (1 - v) * _at(low.log(), t, v)).exp()


def reverse_step(reverse: Gaussian, t: Timesteps, epsilon: Samples) -> Samples:
    """A draw of the reverse Gaussian; its mean at the first timestep (Ho et al. 2020, Algorithm 2)."""
    noisy = _per_sample((t > 0).to(epsilon), epsilon)
    return reverse.mean + noisy * reverse.variance.sqrt() * epsilon


# Losses


def simple_loss(epsilon: Samples, predicted: Samples) -> Float[Tensor, " b"]:
    """Mean squared error of ε, per sample (Ho et al. 2020, eq. 14)."""
    return (epsilon - predicted).square().flatten(1).mean(1)


def gaussian_kl(p: Gaussian, q: Gaussian) -> Tensor:
    """KL(p ‖ q) in nats, element by element; both variances above 0."""
    ratio = p.variance / q.variance
    return 0.5 * (ratio - 1 - ratio.log() + (p.mean - q.mean).square() / q.variance)


def bound_term(posterior: Gaussian, reverse: Gaussian, x0: Samples, t: Timesteps) -> Float[Tensor, " b"]:
    """One term of the variational bound on −log p(x_0), in nats per element, averaged over each sample.

    KL(q(x_{t−1}|x_t, x_0) ‖ p(x_{t−1}|x_t)), and −log p(x_0|x_1) at the first timestep. The hybrid
    loss of learned variances adds it, times T and a small weight, with the reverse mean detached.

    Args:
        posterior: From `q_posterior`.
        reverse: Mean and variance that the model gives.
        x0: Pictures of 256 levels in [−1, 1]; the first timestep counts the mass of a level.
        t: Timesteps.

    Source: Ho et al. (2020), eq. 5 and 13; Nichol & Dhariwal (2021), §3.1 and eq. 16.
    """
    first = _per_sample(t == 0, x0)
    # β̃ is 0 at the first timestep: a stand-in keeps the unused term and its gradient finite.
    known = Gaussian(posterior.mean, torch.where(first, torch.ones_like(x0), posterior.variance))
    mass = log_level_mass(x0, reverse.mean, reverse.variance.sqrt())
    terms = torch.where(first, -mass, gaussian_kl(known, reverse))
    return terms.flatten(1).mean(1)


def _at(table: Tensor, t: Tensor, like: Tensor) -> Tensor:
    return _per_sample(table.to(t.device)[t].to(like), like)


def _per_sample(value: Tensor, like: Tensor) -> Tensor:
    return value.view(-1, *[1] * (like.ndim - 1))
