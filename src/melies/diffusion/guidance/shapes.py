"""How guidance may change over a run: clocks, and the heuristic shapes ω(t) of Wang et al. (2024).

A clock says where a run is: u = t/T is 1 at its first step and falls to 0. A shape says how heavy
guidance is there, as printed, before the weight ω and before any normalisation
(`melies.diffusion.guidance.schedules`).
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from melies.diffusion.adapt import DiscreteClock
from melies.diffusion.ddpm import alpha_bars, linear_betas

Fractions: TypeAlias = Float[Tensor, " steps"]
Grid: TypeAlias = Float[Tensor, " n"]

Shape = Callable[[Tensor], Tensor]
"""`u (steps,) → relative weight (steps,)`, at least 0."""

RunClock = Callable[[Tensor], Tensor]
"""`sigmas (steps + 1,) → u (steps,)`, falling."""

# Clocks


def by_step(sigmas: Grid) -> Fractions:
    """Even steps from 1 to 0, whatever the grid: t/T of a run with evenly spaced timesteps."""
    steps = len(sigmas) - 1
    if steps == 1:  # one step stands for the whole run
        return torch.full((1,), 0.5, dtype=torch.float64)
    return torch.linspace(1, 0, steps, dtype=torch.float64)


def by_log_snr(sigmas: Grid) -> Fractions:
    """Even in log σ, hence in log-SNR = −2·log σ, from 1 at the first level to 0 at the last above 0."""
    return _stretched(_levels(sigmas).log())


def by_sigma(sigmas: Grid) -> Fractions:
    """Even in σ, from 1 at the first level to 0 at the last above 0."""
    return _stretched(_levels(sigmas))


def by_time(sigmas: Grid) -> Fractions:
    """t/T of DDPM's linear β schedule at each level: 1 only where σ reaches that schedule's end, 157."""
    table = alpha_bars(linear_betas(1000))
    return DiscreteClock(table).time(_levels(sigmas)) / (len(table) - 1)


CLOCKS: dict[str, RunClock] = {
    "step": by_step,
    "log-snr": by_log_snr,
    "sigma": by_sigma,
    "time": by_time,
}
"""Names of clocks."""


def _levels(sigmas: Tensor) -> Tensor:
    return sigmas[:-1].detach().cpu().double()


def _stretched(values: Tensor) -> Tensor:
    if len(values) == 1:
        return torch.full_like(values, 0.5)
    return (values - values[-1]) / (values[0] - values[-1])


# Shapes, as printed


def static(u: Fractions) -> Fractions:
    """1 all along: plain classifier-free guidance."""
    return torch.ones_like(u)


def linear(u: Fractions) -> Fractions:
    """1 − u: rises during the run."""
    return 1 - u


def invlinear(u: Fractions) -> Fractions:
    """u: falls during the run."""
    return u


def cosine(u: Fractions) -> Fractions:
    """cos(πu) + 1: rises."""
    return (math.pi * u).cos() + 1


def sine(u: Fractions) -> Fractions:
    """sin(πu − π/2) + 1: falls, the mirror image of `cosine`."""
    return 1 + (math.pi * u - math.pi / 2).sin()


def v(u: Fractions) -> Fractions:
    """max(u, 1 − u): dips to half in the middle. The slides print it under the name of `lambda`."""
    return torch.maximum(u, 1 - u)


def lambda_(u: Fractions) -> Fractions:
    """min(u, 1 − u): peaks in the middle. The slides print it under the name of `v`."""
    return torch.minimum(u, 1 - u)


def doubled_linear(u: Fractions) -> Fractions:
    """2·(1 − u): what `clamp-linear` keeps above its floor, of mean 1."""
    return 2 * (1 - u)


def powered_cosine(exponent: float) -> Shape:
    """(1 − cos(π·(1−u)^s))/2, "pcs": static as s → 0, half of `cosine` at 1, later and later above."""

    def shape(u: Fractions) -> Fractions:
        return (1 - (math.pi * (1 - u).pow(exponent)).cos()) / 2

    return shape
