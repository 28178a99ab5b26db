"""A transformer block that is told things by tokens that it looks at, by a vector, or not at all."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from melies.interfaces import AttentionEdit
from melies.nn.attention import Attention


class Told(NamedTuple):
    """What the blocks of a network are told besides the tokens that they pass on."""

    vector: Tensor | None = None
    """(b, d), for those that are modulated."""
    tokens: Tensor | None = None
    """(b, m, d), for those that look at them."""
    valid: Tensor | None = None
    """(b, m) bool: which of these are real."""


class Block(nn.Module):
    """Cross-attention where it is wanted, self-attention, feed-forward; each after a normalisation."""

    def __init__(
        self,
        dim: int,
        *,
        head_dim: int,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        skipped: float = 0.0,
        crossed: bool = False,
        modulated: bool = False,
    ) -> None:
        """Build a block.

        Args:
            dim: Width of the tokens; a multiple of `head_dim`.
            head_dim: Width of one attention head.
            mlp_ratio: Hidden width of the feed-forward part, in units of `dim`.
            dropout: Of the feed-forward part.
            skipped: Share of a batch for which each part is left out while training.
            crossed: Whether it looks at the tokens that it is told.
            modulated: Whether the vector that it is told shifts, scales and gates it (adaLN-Zero).
        """
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.skipped = skipped
        self.self_attention = Attention(dim, head_dim=head_dim)
        self.cross_attention = Attention(dim, head_dim=head_dim) if crossed else None
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim)
        )
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim)) if modulated else None
        self.gain = None if modulated else nn.Parameter(torch.ones(3 if crossed else 2, dim))
        self.shift = None if modulated else nn.Parameter(torch.zeros(3 if crossed else 2, dim))

    def forward(
        self,
        x: Float[Tensor, "b l d"],
        valid: Bool[Tensor, "b l"],
        told: Told | None = None,
        attention: AttentionEdit | None = None,
        name: str = "",
    ) -> Float[Tensor, "b l d"]:
        """One block.

        Args:
            x: Tokens.
            valid: Which of them may be looked at; of every row at least one.
            told: What this block was built to be told.
            attention: May replace the result of its attention layers, called `name.self` and `name.cross`.
            name: What this block is called.
        """
        told = told or Told()
        if self.modulation is not None:
            parts = self.modulation(told.vector).unflatten(-1, (6, 1, -1)).unbind(1)
            shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = parts
            h = normalise(x) * (1 + scale_a) + shift_a
            x = x + self._kept(
                gate_a * self.self_attention(h, valid=valid, edit=attention, name=f"{name}.self")
            )
            return x + self._kept(gate_f * self.feed_forward(normalise(x) * (1 + scale_f) + shift_f))
        if self.cross_attention is not None:
            looked = self.cross_attention(
                self._normed(x, 2), told.tokens, valid=told.valid, edit=attention, name=f"{name}.cross"
            )
            x = x + self._kept(looked)
        x = x + self._kept(
            self.self_attention(self._normed(x, 0), valid=valid, edit=attention, name=f"{name}.self")
        )
        return x + self._kept(self.feed_forward(self._normed(x, 1)))

    def _normed(self, x: Tensor, index: int) -> Tensor:
        assert self.gain is not None
        assert self.shift is not None
        return normalise(x) * self.gain[index] + self.shift[index]

    def _kept(self, x: Tensor) -> Tensor:
        """Nothing, for some of the paths, while training."""
        if not self.training or not self.skipped:
            return x
        kept = torch.rand(len(x), 1, 1, device=x.device) >= self.skipped
        return x * kept / (1 - self.skipped)


def normalise(x: Tensor) -> Tensor:
    """Layer normalisation without a gain of its own."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)
