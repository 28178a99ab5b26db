"""Samplers: plain functions from noise at sigmas[0] to a sample at sigmas[-1].

Each takes `denoise(x, sigma (b,)) → x0_hat` with conditions and guidance already inside, `x` with
standard deviation sigmas[0], and a falling grid from `melies.diffusion.noise`; it returns x at the
last level, which is the sample itself where the grid ends in 0. A count or a preview is made by
wrapping `denoise`. They run under `no_grad`, not inference mode, so that guidance may still take a
classifier's gradient inside. A step is a `torch.lerp` between x0_hat and x where it can be: one pass
over the memory instead of three, which is seen beside a small network. The table of names is
`melies.diffusion.SAMPLERS`.
"""

import math
from itertools import pairwise
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from melies.interfaces import Denoise, Noise

State: TypeAlias = Float[Tensor, "b *event"]
Grid: TypeAlias = Float[Tensor, " n"]


@torch.no_grad()
def euler(denoise: Denoise, x: State, sigmas: Grid, *, noise: Noise | None = None) -> State:
    """Euler steps of the probability-flow ODE dx/dσ = (x − D(x, σ))/σ; first order.

    Source: Karras et al. (2022), eq. 3 and Algorithm 1 without its corrector.
    """
    for sigma, sigma_next in pairwise(sigmas.tolist()):
        x = torch.lerp(denoise(x, _levels(sigma, x)), x, sigma_next / sigma)
    return x


@torch.no_grad()
def heun(denoise: Denoise, x: State, sigmas: Grid, *, noise: Noise | None = None) -> State:
    """Heun steps: an Euler proposal, then the mean of the slopes at both ends; second order.

    Two evaluations per step, one in a step to 0.
    Source: Karras et al. (2022), Algorithm 1.
    """
    for sigma, sigma_next in pairwise(sigmas.tolist()):
        slope = (x - denoise(x, _levels(sigma, x))) / sigma
        proposal = torch.add(x, slope, alpha=sigma_next - sigma)
        if sigma_next > 0:  # at 0 the corrector would divide by zero
            end = (proposal - denoise(proposal, _levels(sigma_next, x))) / sigma_next
            proposal = x + (sigma_next - sigma) * torch.lerp(slope, end, 0.5)
        x = proposal
    return x


@torch.no_grad()
def dpmpp(denoise: Denoise, x: State, sigmas: Grid, *, noise: Noise | None = None) -> State:
    """DPM-Solver++(2M): second order from one evaluation per step, with the previous one remembered.

    The first step, and a step to 0 where log σ has no end, are of first order.
    Source: Lu et al. (2022), "DPM-Solver++", Algorithm 2, with λ = −log σ and α = 1.
    """
    before, h_before = None, 0.0
    for sigma, sigma_next in pairwise(sigmas.tolist()):
        x0 = denoise(x, _levels(sigma, x))
        h = math.log(sigma / sigma_next) if sigma_next > 0 else math.inf
        target = x0
        if before is not None and sigma_next > 0:
            target = torch.lerp(before, x0, 1 + h / (2 * h_before))
        x = torch.lerp(target, x, sigma_next / sigma)
        before, h_before = x0, h
    return x


@torch.no_grad()
def ddim(denoise: Denoise, x: State, sigmas: Grid, *, noise: Noise | None = None, eta: float = 0.0) -> State:
    """DDIM: jump to x0_hat and back to the next level along the same ε, renewing a part of it.

    With eta = 0 nothing is renewed and the steps are those of `euler`, another way to write them;
    with eta = 1 they are those of `ddpm`. `functools.partial(ddim, eta=0.5)` is a sampler.

    Args:
        denoise: The bound denoiser.
        x: Noise at sigmas[0].
        sigmas: Falling levels.
        noise: Needed if eta > 0.
        eta: Share of renewed noise, in [0, 1].

    Raises:
        ValueError: If eta > 0 and no `noise` is given.

    Source: Song et al. (2021), "Denoising diffusion implicit models", eq. 12 and 16.
    """
    if eta > 0 and noise is None:
        raise ValueError(f"ddim with {eta=} renews noise: pass noise=")
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoise(x, _levels(sigma, x))
        fresh = eta * _posterior_std(sigma, sigma_next)
        x = torch.lerp(x0, x, math.sqrt(sigma_next**2 - fresh**2) / sigma)  # ε is (x − x0)/σ
        if noise is not None and fresh > 0:
            x = x + fresh * noise(step, x)
    return x


@torch.no_grad()
def ddpm(denoise: Denoise, x: State, sigmas: Grid, *, noise: Noise | None = None) -> State:
    """Ancestral sampling: draw from q(x_next | x, x0 = x0_hat), the reverse step with fixed-small variance.

    Raises:
        ValueError: If no `noise` is given.

    Source: Ho et al. (2020), Algorithm 2 and eq. 6–7, in x_σ = x_t/√ᾱ_t, for any two levels.
    """
    if noise is None:
        raise ValueError("ddpm draws noise at every step: pass noise=")
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoise(x, _levels(sigma, x))
        x = torch.lerp(x0, x, (sigma_next / sigma) ** 2)
        if sigma_next > 0:
            x = x + _posterior_std(sigma, sigma_next) * noise(step, x)
    return x


def _posterior_std(sigma: float, sigma_next: float) -> float:
    """Standard deviation of q(x_next | x, x0), in units of x0: √β̃/√ᾱ_next of the DDPM papers."""
    return sigma_next / sigma * math.sqrt(sigma**2 - sigma_next**2)


def _levels(sigma: float, x: Tensor) -> Tensor:
    return x.new_full((len(x),), sigma)
