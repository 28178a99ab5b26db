"""An endless, fixed order of samples: which sample comes at which position, without any state."""

from functools import lru_cache

import torch
from jaxtyping import Int64
from torch import Tensor

from melies.rng import generator_for


def permuted(start: int, size: int, count: int, *, seed: int) -> Int64[Tensor, " size"]:
    """Positions start … start + size − 1 of a stream that goes through `count` samples in epochs.

    Each epoch is a permutation of its own, so every sample is seen once per epoch.
    """
    positions = range(start, start + size)
    return torch.tensor([int(_epoch(p // count, count, seed)[p % count]) for p in positions])


@lru_cache(maxsize=4)
def _epoch(epoch: int, count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=generator_for(seed, "epoch", epoch))
