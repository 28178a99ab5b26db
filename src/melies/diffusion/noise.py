"""Grids of noise levels to sample on: falling, from sigma_max to sigma_min and then exactly 0.

All are float64 on the CPU: samplers read them as plain numbers. A grid that is to end at sigma_min
is `without_zero(grid)`.
"""

from typing import TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from melies.config import check_positive, check_range
from melies.diffusion.adapt import DiscreteClock, sigma_from_alpha_bar
from melies.diffusion.ddpm import alpha_bars, cosine_betas, linear_betas
from melies.errors import UserError

Grid: TypeAlias = Float[Tensor, " n"]


def karras(num_steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Grid:
    """Even steps in σ^(1/ρ), which put most of them at small σ (Karras et al. 2022, eq. 5).

    Args:
        num_steps: At least 1; with 1 the grid is sigma_max, 0.
        sigma_min: Last level above 0, in units of x0.
        sigma_max: First level.
        rho: At least 1; 1 gives even steps in σ.

    Returns:
        num_steps + 1 levels.

    Raises:
        UserError: If not 0 < sigma_min < sigma_max, or a number is out of range.
    """
    _check(num_steps, sigma_min, sigma_max)
    check_range("rho", rho, low=1.0)
    root = torch.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), num_steps, dtype=torch.float64)
    sigmas = root**rho
    sigmas[-1], sigmas[0] = sigma_min, sigma_max  # exactly, whatever the powers were rounded to
    return _with_zero(sigmas)


def linear(num_steps: int, sigma_min: float, sigma_max: float) -> Grid:
    """Even steps in σ. Arguments, result and errors as of `karras`."""
    return karras(num_steps, sigma_min, sigma_max, rho=1.0)


def ddpm_linear(num_steps: int, sigma_min: float, sigma_max: float) -> Grid:
    """Even steps in the time of DDPM's linear β schedule, from the time of sigma_max to that of sigma_min.

    Between two of the 1000 timesteps log σ is interpolated. The schedule has no σ beyond 0.01 and
    157, and the grid keeps within these. Arguments, result and errors otherwise as of `karras`.
    """
    return _even_in_time(linear_betas(1000), num_steps, sigma_min, sigma_max)


def ddpm_cosine(num_steps: int, sigma_min: float, sigma_max: float) -> Grid:
    """Even steps in the time of the cosine β schedule, whose σ starts at 0.0064; else as `ddpm_linear`."""
    return _even_in_time(cosine_betas(1000), num_steps, sigma_min, sigma_max)


def from_timesteps(alpha_bar: Float[Tensor, " t"], timesteps: Int64[Tensor, " s"]) -> Grid:
    """The levels of chosen DDPM timesteps: σ² = (1 − ᾱ_t)/ᾱ_t, then 0.

    Args:
        alpha_bar: ᾱ of every training timestep, falling.
        timesteps: Falling, counted from 0.

    Raises:
        ValueError: If the timesteps do not fall or are out of range.
    """
    falling = bool((timesteps.diff() < 0).all())
    if not falling or timesteps.min() < 0 or timesteps.max() >= len(alpha_bar):
        raise ValueError(f"timesteps must fall and lie in 0…{len(alpha_bar) - 1}, got {timesteps.tolist()}")
    return _with_zero(sigma_from_alpha_bar(alpha_bar.double()[timesteps]))


def without_zero(sigmas: Grid) -> Float[Tensor, " m"]:
    """The grid without its last level 0: a sampler then stops at sigma_min, with that much noise left."""
    return sigmas[:-1] if sigmas[-1] == 0 else sigmas


def _even_in_time(betas: Tensor, num_steps: int, sigma_min: float, sigma_max: float) -> Tensor:
    _check(num_steps, sigma_min, sigma_max)
    clock = DiscreteClock(alpha_bars(betas))
    first, last = clock.time(torch.tensor([sigma_max, sigma_min], dtype=torch.float64)).tolist()
    if first == last:
        raise UserError(
            f"[{sigma_min:g}, {sigma_max:g}] lies beyond the noise levels of the DDPM schedule",
            remedy="take the karras grid",
        )
    return _with_zero(clock.sigma(torch.linspace(first, last, num_steps, dtype=torch.float64)))


def _with_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def _check(num_steps: int, sigma_min: float, sigma_max: float) -> None:
    check_range("num_steps", num_steps, low=1, high=100_000)
    check_positive("sigma_min", sigma_min)
    check_range("sigma_max", sigma_max, low=sigma_min, low_open=True)
