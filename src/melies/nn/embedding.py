"""Embeddings of noise level, class, text and position, with learned null conditions."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from melies.interfaces import Condition


def sinusoidal(
    position: Float[Tensor, " n"], dim: int, *, max_period: float = 10_000.0
) -> Float[Tensor, "n d"]:
    """Sines and cosines at geometric frequencies (Vaswani et al. 2017, §3.5).

    Args:
        position: Any real numbers.
        dim: Width of the result; even.
        max_period: Longest wavelength divided by 2π.
    """
    half = dim // 2
    exponent = torch.arange(half, device=position.device, dtype=torch.float32) / half
    angle = position.float()[:, None] * torch.exp(-math.log(max_period) * exponent)
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def sinusoidal_2d(height: int, width: int, dim: int) -> Float[Tensor, "l d"]:
    """Fixed positions of a grid of tokens, row-major: half the width for y, half for x."""
    rows, columns = torch.arange(height).float(), torch.arange(width).float()
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.cat([sinusoidal(y.flatten(), dim // 2), sinusoidal(x.flatten(), dim // 2)], dim=-1)


class ConditionStates(NamedTuple):
    """What a network is told besides its noisy input."""

    vector: Tensor
    """(b, d): noise level, class and the mean of the text."""
    tokens: Tensor | None
    """(b, l, d): text tokens for cross-attention; None for a model without text."""
    valid: Tensor | None
    """(b, l) bool, True = real token; every row has at least one."""


class ConditionEmbedding(nn.Module):
    """Turns c_noise and a condition into one vector and a row of tokens.

    Each condition has a learned null of its own, taken where `present.<name>` is False or
    where the condition is not given at all, so that "no text" is a thing the network has seen.
    """

    def __init__(self, dim: int, *, num_classes: int = 0, text_dim: int = 0) -> None:
        super().__init__()
        self.dim = dim
        self.noise = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.label = nn.Embedding(num_classes + 1, dim) if num_classes else None  # the last row is null
        if text_dim:
            self.text = nn.Sequential(nn.LayerNorm(text_dim), nn.Linear(text_dim, dim))
            self.text_pooled = nn.Linear(dim, dim)
            self.text_null = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.has_text = bool(text_dim)

    def forward(self, c_noise: Float[Tensor, " b"], condition: Condition) -> ConditionStates:
        """Embed; c_noise is log σ / 4 or any number of that size.

        Raises:
            ValueError: If the condition has a part this network was not built for.
        """
        b = len(c_noise)
        vector = self.noise(sinusoidal(c_noise * 1000, self.dim).to(self.noise[0].weight.dtype))  # type: ignore
        if self.label is None and "class" in condition:
            raise ValueError("this network was built without classes")
        if not self.has_text and "text" in condition:
            raise ValueError("this network was built without text")
        if self.label is not None:
            null = torch.full((b,), self.label.num_embeddings - 1, device=c_noise.device)
            label = condition.get("class", null)
            present = condition.get("present.class")
            vector = vector + self.label(label if present is None else torch.where(present, label, null))
        if not self.has_text:
            return ConditionStates(vector, None, None)
        tokens, valid = self._text(b, condition)
        weight = valid[..., None].to(tokens.dtype)
        pooled = (tokens * weight).sum(1) / weight.sum(1)
        return ConditionStates(vector + self.text_pooled(pooled), tokens, valid)

    def _text(self, b: int, condition: Condition) -> tuple[Tensor, Tensor]:
        null = self.text_null
        if "text" not in condition:
            return null.expand(b, 1, -1), torch.ones(b, 1, dtype=torch.bool, device=null.device)
        tokens = self.text(condition["text"].to(null.dtype)).to(null.dtype)
        valid = condition["text_valid"]
        present = condition.get("present.text")
        if present is not None:
            first = torch.zeros_like(valid)
            first[:, 0] = True  # the null is one token: attention needs at least one
            tokens = torch.where(present[:, None, None], tokens, null)
            valid = torch.where(present[:, None], valid, first)
        return tokens, valid
