"""The way back from a picture to a latent of a generator, which has no encoder: by descent."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from melies.rng import generator_for

NUM_CANDIDATES = 256
"""Latents that are looked through for the ones to start from."""
NUM_STARTS = 4
"""Starts for each picture, of which the best goes on."""
FIRST_STEPS, MORE_STEPS = 40, 120
"""Steps of Adam for all starts, and for the best one."""
LEARNING_RATE = 0.1
"""Of Adam, in units of latents; falls to zero over the steps."""
PRIOR = 1e-3
"""Weight of the mean square of a latent, which keeps it where the generator was trained."""


@torch.no_grad()
def project(
    generate: Callable[[Float[Tensor, "m d"], Tensor], Float[Tensor, "m c h w"]],
    pixels: Float[Tensor, "b c h w"],
    *,
    latent_dim: int,
) -> Float[Tensor, "b d"]:
    """Latents whose pictures are like `pixels`: mean squared error at full, half, quarter … size.

    Each picture's descent starts from the best of some fixed candidates and does not depend on what
    else is in the batch. Source: Zhu et al. (2016), "Generative visual manipulation", §3.1.

    Args:
        generate: `(z, rows) → pictures`, differentiable in z; `rows` int64 (m,) says which picture of
            the batch each latent is for.
        pixels: What to come close to.
        latent_dim: Numbers in a latent.
    """
    target = pyramid(pixels)
    drawn = torch.randn(NUM_CANDIDATES, latent_dim, generator=generator_for(0, "projection"))
    candidates = drawn.to(pixels.device)
    starts = []
    for row in range(len(pixels)):  # what a candidate looks like may depend on the picture's class
        rows = torch.full((NUM_CANDIDATES,), row, device=pixels.device)
        errors = (pyramid(generate(candidates, rows)) - target[row]).square().sum(1)
        starts.append(candidates[errors.topk(NUM_STARTS, largest=False).indices])
    rows = torch.arange(len(pixels), device=pixels.device)
    several = rows.repeat_interleave(NUM_STARTS)
    z, errors = _descend(generate, torch.cat(starts), several, target, num_steps=FIRST_STEPS)
    best = errors.view(-1, NUM_STARTS).argmin(1)
    return _descend(generate, z[rows * NUM_STARTS + best], rows, target, num_steps=MORE_STEPS)[0]


def pyramid(pixels: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n"]:
    """The picture at full, half, quarter … size, scaled so that squared distances add up the mean errors."""
    levels = [pixels]
    while not levels[-1].shape[-1] % 2 and levels[-1].shape[-1] > 4:
        levels.append(F.avg_pool2d(levels[-1], 2))
    return torch.cat([level.flatten(1) / level[0].numel() ** 0.5 for level in levels], 1)


def _descend(
    generate: Callable[[Tensor, Tensor], Tensor],
    z: Tensor,
    rows: Tensor,
    target: Tensor,
    *,
    num_steps: int,
) -> tuple[Tensor, Tensor]:
    """Latents after some steps, and the error of each."""
    z = z.clone()
    optimizer = torch.optim.Adam([z], lr=LEARNING_RATE)
    errors = z.new_zeros(len(z))
    for step in range(num_steps):
        with torch.enable_grad():
            moving = z.detach().requires_grad_()
            errors = (pyramid(generate(moving, rows)) - target[rows]).square().sum(1)
            errors = errors + PRIOR * moving.square().mean(1)
            # The sum, not the mean: the path of a picture does not depend on the others.
            (z.grad,) = torch.autograd.grad(errors.sum(), moving)
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / num_steps)
        optimizer.step()
    return z, errors.detach()
