"""Exponential moving average of weights, with its length counted in samples."""

import copy

import torch
from torch import Tensor, nn


class EMA:
    """A second model whose weights trail those of the first.

    The half-life is at most a share of the samples seen until it reaches its full length, so that
    the first noisy weights are forgotten. The share of 5 % is the default of the training code that
    was published with Karras et al. 2022 (EDM); the paper does not name it.
    """

    def __init__(self, model: nn.Module, *, half_life: float, ramp: float = 0.05) -> None:
        """Start from the model's present weights.

        Args:
            model: What to follow.
            half_life: Samples after which a weight's influence has halved.
            ramp: Largest half-life as a share of the samples seen.
        """
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.half_life, self.ramp = half_life, ramp

    @torch.no_grad()
    def update(self, model: nn.Module, *, num_samples: int, samples_seen: int) -> None:
        """Move on by a batch of `num_samples` that brought the total to `samples_seen`."""
        half_life = min(self.half_life, max(self.ramp * samples_seen, 1e-8))
        decay = 0.5 ** (num_samples / half_life)
        for shadow, value in zip(self.model.parameters(), model.parameters(), strict=True):
            shadow.lerp_(value.to(shadow), 1.0 - decay)
        for shadow, value in zip(self.model.buffers(), model.buffers(), strict=True):
            shadow.copy_(value)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights."""
        return self.model.state_dict()
