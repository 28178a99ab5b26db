"""Ways between two latents: straight, or along the sphere on which Gaussian noise lies."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from melies.errors import UserError, choose

Mixing = Literal["linear", "spherical"]
"""How latents are mixed."""


def linear(
    first: Float[Tensor, "b *latent"], second: Float[Tensor, "b *latent"], share: float
) -> Float[Tensor, "b *latent"]:
    """The straight way: (1 − share)·first + share·second."""
    return torch.lerp(first, second, share)


def spherical(
    first: Float[Tensor, "b *latent"], second: Float[Tensor, "b *latent"], share: float
) -> Float[Tensor, "b *latent"]:
    """The way along the great circle, each sample's latent taken as one vector.

    Between two draws of a Gaussian of many dimensions the straight way passes nearer to the origin
    than any draw does; this one keeps to where draws lie. Vectors in one direction, or opposite ones,
    between which there is no one circle, are mixed linearly.

    Source: Shoemake (1985), "Animating rotation with quaternion curves", §3.3; for latents White (2016).
    """
    a, b = first.flatten(1).double(), second.flatten(1).double()
    lengths = a.norm(dim=1, keepdim=True) * b.norm(dim=1, keepdim=True)
    cosine = ((a * b).sum(1, keepdim=True) / lengths.clamp_min(1e-300)).clamp(-1, 1)
    angle = cosine.acos()
    curved = (lengths > 0) & (angle.sin() > 1e-6)
    sine = torch.where(curved, angle.sin(), torch.ones_like(angle))
    weights = (
        torch.where(curved, ((1 - share) * angle).sin() / sine, torch.full_like(angle, 1 - share)),
        torch.where(curved, (share * angle).sin() / sine, torch.full_like(angle, share)),
    )
    return (weights[0] * a + weights[1] * b).to(first).view_as(first)


MIXINGS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"linear": linear, "spherical": spherical}
"""Each is `(first, second, share) → mixed`; share 0 is the first, 1 the second."""


def mixed(
    first: Float[Tensor, "b *latent"], second: Float[Tensor, "b *latent"], *, num: int, mixing: str
) -> Float[Tensor, "b num *latent"]:
    """`num` latents at even distances from `first` to `second`, both included.

    Raises:
        UserError: If `mixing` is unknown, or there are fewer than two steps.
    """
    mix = choose(mixing, MIXINGS, "way of mixing")
    if num < 2:
        raise UserError(f"{num} steps from one picture to another are too few", remedy="ask for 2 or more")
    return torch.stack([mix(first, second, step / (num - 1)) for step in range(num)], 1)
