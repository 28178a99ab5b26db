"""A convolutional denoiser (UNet) with class, text and noise-level conditions.

Ho et al. (2020), "Denoising Diffusion Probabilistic Models", appendix B, with the condition as
scale and shift of a group norm (Dhariwal & Nichol 2021, §4.1), box filters between the sizes
(Karras et al. 2022, appendix F) and cross-attention to text tokens (Rombach et al. 2022, §3.3).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from melies.config import check_positive, check_range
from melies.errors import UserError
from melies.interfaces import AttentionEdit, Condition
from melies.nn.attention import Attention
from melies.nn.embedding import ConditionEmbedding, ConditionStates

GROUPS = 8
"""Groups of every group norm; widths are multiples of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetConfig:
    """Shape of a UNet denoiser."""

    channels: int = 3
    """Channels of the noisy input and of the prediction."""
    size: int = 32
    """Height and width of the input, in pixels or latent cells."""
    widths: tuple[int, ...] = (32, 64, 96)
    """Channels at 1, 1/2, 1/4 … of the size; multiples of 8, and of `head_dim` where it attends."""
    blocks: int = 2
    """Residual blocks per size on the way down, and as many on the way up."""
    attention: tuple[int, ...] = (8,)
    """Heights at which every block attends, in pixels; the middle block always does."""
    head_dim: int = 32
    """Width of one attention head."""
    dim: int = 128
    """Width of the condition vector and of the text tokens; even."""
    dropout: float = 0.0
    """Probability of dropping a feature inside a residual block, in training."""
    num_classes: int = 0
    """Number of classes; 0 for a model without classes."""
    text_dim: int = 0
    """Width of the text states; 0 for a model without text."""
    learned_variance: bool = False
    """Whether to predict `channels` more, the variance of Nichol & Dhariwal (2021)."""

    def __post_init__(self) -> None:
        """Check the ranges, and that the widths and sizes divide."""
        for name in ("channels", "size", "blocks", "head_dim", "dim"):
            check_positive(name, getattr(self, name))
        for name in ("num_classes", "text_dim"):
            check_range(name, getattr(self, name), low=0)
        check_range("dropout", self.dropout, low=0, high=0.99)
        if not self.widths or self.size % 2 ** (len(self.widths) - 1):
            raise UserError(
                f"size = {self.size} cannot be halved {len(self.widths) - 1} times",
                where="UNetConfig.widths",
                remedy="give one width per halving, and one more",
            )
        if self.sizes[-1] < 2:
            raise UserError(
                "the smallest size is 1, where group norms have nothing to compare", where="UNetConfig.widths"
            )
        for size in self.attention:
            if size not in self.sizes:
                raise UserError(
                    f"attention at size {size}, which this network does not have",
                    where="UNetConfig.attention",
                    remedy=f"its sizes are {', '.join(map(str, self.sizes))}",
                )
        for width, attends in zip(self.widths, self.attends, strict=True):
            unit = math.lcm(GROUPS, self.head_dim) if attends else GROUPS
            if width < 1 or width % unit:
                raise UserError(f"width {width} is not a multiple of {unit}", where="UNetConfig.widths")
        if self.dim % 2:
            raise UserError(f"dim = {self.dim} is odd", where="UNetConfig.dim")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Height at each level, in pixels, largest first."""
        return tuple(self.size >> level for level in range(len(self.widths)))

    @property
    def attends(self) -> tuple[bool, ...]:
        """For each level, whether any of its layers attends; at the deepest the middle block does."""
        return tuple(size in self.attention or size == self.sizes[-1] for size in self.sizes)


class Block(nn.Module):
    """Two convolutions modulated by the condition, then attention where the size asks for it."""

    def __init__(self, config: UNetConfig, width_in: int, width: int, *, attend: bool) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(GROUPS, width_in)
        self.conv_in = nn.Conv2d(width_in, width, 3, padding=1)
        self.modulation = nn.Linear(config.dim, 2 * width)
        self.norm_out = nn.GroupNorm(GROUPS, width)
        self.dropout = nn.Dropout(config.dropout)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()
        nn.init.zeros_(self.conv_out.weight)  # every block starts as its shortcut
        self.self_attention = Attention(width, head_dim=config.head_dim) if attend else None
        self.cross_attention = None
        if attend and config.text_dim:
            self.cross_attention = Attention(width, head_dim=config.head_dim, context_dim=config.dim)
        for layer in (self.self_attention, self.cross_attention):
            if layer is not None:
                nn.init.zeros_(layer.out.weight)

    def forward(
        self,
        x: Float[Tensor, "b i h w"],
        vector: Float[Tensor, "b d"],
        states: ConditionStates,
        attention: AttentionEdit | None,
        name: str,
    ) -> Float[Tensor, "b o h w"]:
        """One block; `vector` is the activated condition vector, `name` is for the attention edit."""
        scale, shift = self.modulation(vector)[:, :, None, None].chunk(2, dim=1)
        h = self.conv_in(F.silu(self.norm_in(x)))
        h = torch.addcmul(shift, self.norm_out(h), 1 + scale)
        x = self.shortcut(x) + self.conv_out(self.dropout(F.silu(h)))
        if self.self_attention is None:
            return x
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.self_attention(_normalise(tokens), edit=attention, name=f"{name}.self")
        if self.cross_attention is not None:
            tokens = tokens + self.cross_attention(
                _normalise(tokens), states.tokens, valid=states.valid, edit=attention, name=f"{name}.cross"
            )
        return tokens.transpose(1, 2).unflatten(2, x.shape[2:])


class UNet(nn.Module):
    """The denoising network: noisy picture or latent in, raw prediction out.

    On the way down each block's output is kept and handed to its mirror block on the way up. The
    blocks are called `down0`, `down1` …, `middle`, `up0`, `up1` …; their attention layers add
    `.self` and `.cross`.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        levels = range(len(config.widths))
        outputs = config.channels * (2 if config.learned_variance else 1)
        self.condition = ConditionEmbedding(
            config.dim, num_classes=config.num_classes, text_dim=config.text_dim
        )
        self.embed = nn.Conv2d(config.channels, config.widths[0], 3, padding=1)
        width, down, up = config.widths[0], [], []
        for level in levels:
            for _ in range(config.blocks):
                down.append(self._block(width, level))
                width = config.widths[level]
        for level in reversed(levels):
            for _ in range(config.blocks):
                up.append(self._block(width + config.widths[level], level))
                width = config.widths[level]
        self.down = nn.ModuleList(down)
        self.middle = Block(config, config.widths[-1], config.widths[-1], attend=True)
        self.up = nn.ModuleList(up)
        self.norm = nn.GroupNorm(GROUPS, config.widths[0])
        self.out = nn.Conv2d(config.widths[0], outputs, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _block(self, width_in: int, level: int) -> Block:
        config = self.config
        return Block(config, width_in, config.widths[level], attend=config.sizes[level] in config.attention)

    @property
    def residual_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Channels, height and width of each residual: the down blocks' in their order, then the middle's."""
        config = self.config
        kept = [
            (width, size, size)
            for width, size in zip(config.widths, config.sizes, strict=True)
            for _ in range(config.blocks)
        ]
        return (*kept, kept[-1])

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
            residuals: From a control branch (Zhang et al. 2023, "ControlNet", §3.2): one for each
                down block's output, added where its mirror block takes it up, then one added to the
                middle block's output; in the order and the shapes of `residual_shapes`.
            attention: May replace the result of any attention layer.

        Raises:
            ValueError: If the number of residuals is not that of `residual_shapes`.
        """
        if residuals is not None and len(residuals) != len(self.down) + 1:
            raise ValueError(f"{len(residuals)} residuals for {len(self.down)} down blocks and the middle")
        states = self.condition(c_noise, condition)
        vector = F.silu(states.vector)
        h = self.embed(x.contiguous(memory_format=torch.channels_last))
        kept = []
        for index, block in enumerate(self.down):
            if index and index % self.config.blocks == 0:
                h = F.avg_pool2d(h, 2)
            h = block(h, vector, states, attention, f"down{index}")
            kept.append(h if residuals is None else h + residuals[index])
        h = self.middle(h, vector, states, attention, "middle")
        if residuals is not None:
            h = h + residuals[-1]
        for index, block in enumerate(self.up):
            if index and index % self.config.blocks == 0:
                h = F.interpolate(h, scale_factor=2.0, mode="nearest")
            h = block(torch.cat([h, kept.pop()], 1), vector, states, attention, f"up{index}")
        return self.out(F.silu(self.norm(h))).contiguous()


def _normalise(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])
