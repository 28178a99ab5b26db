"""Gaussians in closed form, element by element: density, mass of a level, distance to the standard one."""

import math
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

Values: TypeAlias = Float[Tensor, "..."]
"""Of shapes that broadcast with each other."""


def log_density(x: Values, mean: Values, std: Values) -> Values:
    """Log N(x; mean, std²), in nats."""
    return -0.5 * (((x - mean) / std).square() + math.log(2 * math.pi)) - std.log()


def log_level_mass(x: Values, mean: Values, std: Values) -> Values:
    """Log of the mass that N(mean, std²) gives to each level of x, 256 levels in [−1, 1], in nats.

    The lowest and highest levels take what lies beyond them. Exact, and with a gradient, however far
    from the mean a level lies. Source: Ho et al. (2020), eq. 13.
    """
    above, below = (x + 1 / 255 - mean) / std, (x - 1 / 255 - mean) / std
    # Measured on the side where both tails are small, so that their difference keeps its digits.
    flip = above + below > 0
    high = torch.special.log_ndtr(torch.where(flip, -below, above))
    low = torch.special.log_ndtr(torch.where(flip, -above, below))
    # Never nothing: where σ is so large that both tails round to one, the logarithm still has a gradient.
    inside = high + (-torch.expm1((low - high).clamp(max=-torch.finfo(low.dtype).tiny))).log()
    lowest = x < -0.999
    beyond = torch.special.log_ndtr(torch.where(lowest, above, -below))
    return torch.where(lowest | (x > 0.999), beyond, inside)


def standard_kl(mean: Values, logvar: Values) -> Values:
    """KL(N(mean, exp logvar) ‖ N(0, 1)), in nats (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar)
