"""Products, projections and deviations of samples, over their real elements only."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Samples = Float[Tensor, "b *event"]
Column = Float[Tensor, "b *ones"]
Valid = Bool[Tensor, "b *leading"] | None
"""True = real, over the first axes of a sample; None where all is."""


def dot(a: Samples, b: Samples, valid: Valid = None) -> Column:
    """Inner product of each sample with its partner, (b, 1, …)."""
    return (a * b * _mask(valid, a)).flatten(1).sum(1).view(-1, *[1] * (a.ndim - 1))


def norm(a: Samples, valid: Valid = None) -> Column:
    """Euclidean length of each sample, (b, 1, …)."""
    return dot(a, a, valid).sqrt()


def parallel(a: Samples, along: Samples, valid: Valid = None) -> Samples:
    """The part of `a` along another vector; zero where that is zero."""
    squared = dot(along, along, valid)
    share = dot(a, along, valid) / torch.where(squared > 0, squared, torch.ones_like(squared))
    return share * along


def deviation(a: Samples, valid: Valid = None) -> Column:
    """Standard deviation of the elements of each sample, n − 1 in its denominator, (b, 1, …)."""
    mask = _mask(valid, a)
    count = mask.flatten(1).sum(1).view(-1, *[1] * (a.ndim - 1))
    mean = dot(a, torch.ones_like(a), valid) / count
    squared = ((a - mean).square() * mask).flatten(1).sum(1).view_as(count)
    return (squared / (count - 1)).sqrt()


def _mask(valid: Tensor | None, like: Tensor) -> Tensor:
    if valid is None:
        return torch.ones_like(like)
    return valid.view(*valid.shape, *[1] * (like.ndim - valid.ndim)).to(like).expand_as(like)
