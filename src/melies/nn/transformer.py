"""A transformer denoiser (DiT) with class, text and noise-level conditions.

Peebles & Xie (2023), "Scalable Diffusion Models with Transformers", with the modulation shared
between blocks and offset per block, and cross-attention to text tokens, as in Chen et al.
(2023), "PixArt-α", §2.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from melies.config import check_positive, check_range
from melies.errors import UserError
from melies.interfaces import AttentionEdit, Condition
from melies.nn.attention import Attention
from melies.nn.embedding import ConditionEmbedding, ConditionStates, sinusoidal_2d


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerConfig:
    """Shape of a transformer denoiser."""

    channels: int = 16
    """Channels of the noisy input and of the prediction."""
    size: int = 8
    """Height and width of the input, in pixels or latent cells."""
    patch: int = 1
    """Side of the square that becomes one token."""
    dim: int = 256
    """Width of the token stream; a multiple of `head_dim`."""
    depth: int = 6
    """Number of blocks."""
    head_dim: int = 64
    """Width of one attention head."""
    mlp_ratio: float = 4.0
    """Hidden width of the feed-forward part, in units of `dim`."""
    num_classes: int = 0
    """Number of classes; 0 for a model without classes."""
    text_dim: int = 0
    """Width of the text states; 0 for a model without text."""
    learned_variance: bool = False
    """Whether to predict `channels` more, the variance of Nichol & Dhariwal (2021)."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("channels", "size", "patch", "dim", "depth", "head_dim", "mlp_ratio"):
            check_positive(name, getattr(self, name))
        for name in ("num_classes", "text_dim"):
            check_range(name, getattr(self, name), low=0)
        if self.size % self.patch or self.dim % self.head_dim or self.dim % 4:
            raise UserError(
                f"size = {self.size} must divide by patch = {self.patch},"
                f" and dim = {self.dim} by head_dim = {self.head_dim} and by 4",
                where="TransformerConfig",
            )


class Block(nn.Module):
    """Self-attention, cross-attention to text, feed-forward; each modulated by the condition."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        dim, hidden = config.dim, int(config.dim * config.mlp_ratio)
        self.self_attention = Attention(dim, head_dim=config.head_dim)
        self.cross_attention = Attention(dim, head_dim=config.head_dim) if config.text_dim else None
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, dim)
        )
        self.offset = nn.Parameter(torch.zeros(6, dim))

    def forward(
        self,
        x: Float[Tensor, "b l d"],
        modulation: Float[Tensor, "b six d"],
        states: ConditionStates,
        attention: AttentionEdit | None,
        name: str,
    ) -> Float[Tensor, "b l d"]:
        """One block; `modulation` holds shift, scale and gate for attention and feed-forward."""
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = (modulation + self.offset).unsqueeze(2).unbind(1)
        h = _normalise(x) * (1 + scale_a) + shift_a
        x = x + gate_a * self.self_attention(h, edit=attention, name=f"{name}.self")
        if self.cross_attention is not None:
            x = x + self.cross_attention(
                _normalise(x), states.tokens, valid=states.valid, edit=attention, name=f"{name}.cross"
            )
        return x + gate_f * self.feed_forward(_normalise(x) * (1 + scale_f) + shift_f)


class Transformer(nn.Module):
    """The denoising network: noisy picture or latent in, raw prediction out."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        dim, patch = config.dim, config.patch
        outputs = config.channels * (2 if config.learned_variance else 1)
        side = config.size // patch
        self.embed = nn.Linear(config.channels * patch**2, dim)
        self.register_buffer("position", sinusoidal_2d(side, side, dim), persistent=False)
        self.condition = ConditionEmbedding(dim, num_classes=config.num_classes, text_dim=config.text_dim)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 2 * dim))
        self.out = nn.Linear(dim, outputs * patch**2)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        # Zero gates and a zero output make every block the identity at first (adaLN-Zero).
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.modulation[1].weight)  # type: ignore
        nn.init.zeros_(self.final_modulation[1].weight)  # type: ignore
        for block in self.blocks:
            if block.cross_attention is not None:
                nn.init.zeros_(block.cross_attention.out.weight)  # type: ignore

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        c_noise: Float[Tensor, " b"],
        condition: Condition,
        *,
        residuals: Sequence[Tensor] | None = None,
        attention: AttentionEdit | None = None,
    ) -> Float[Tensor, "b o h w"]:
        """Predict from c_in·x.

        Args:
            x: Noisy input, scaled to unit variance.
            c_noise: Noise level as the preconditioning gives it.
            condition: See `melies.interfaces.Condition`.
            residuals: One (b, l, d) per block, added after it; from a control branch.
            attention: May replace the result of any attention layer.

        Raises:
            ValueError: If the number of residuals is not that of the blocks.
        """
        if residuals is not None and len(residuals) != len(self.blocks):
            raise ValueError(f"{len(residuals)} residuals for {len(self.blocks)} blocks")
        patch = self.config.patch
        tokens = rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=patch, q=patch)
        h = self.embed(tokens) + self.position
        states = self.condition(c_noise, condition)
        modulation = self.modulation(states.vector).unflatten(-1, (6, -1))
        for index, block in enumerate(self.blocks):
            h = block(h, modulation, states, attention, f"block{index}")
            if residuals is not None:
                h = h + residuals[index]
        shift, scale = self.final_modulation(states.vector)[:, None].chunk(2, dim=-1)
        out = self.out(_normalise(h) * (1 + scale) + shift)
        side = self.config.size // patch
        return rearrange(out, "b (h w) (c p q) -> b c (h p) (w q)", h=side, p=patch, q=patch)


def _normalise(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])
