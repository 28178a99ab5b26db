"""A control branch: a trainable copy of a denoiser's first part, which reads a hint and gives residuals.

Zhang, Rao & Agrawala (2023), "Adding conditional control to text-to-image diffusion models", §3: the
branch sees the noisy input and the condition as the locked network does, the hint besides, and is joined
to it by layers that start at zero, so that at first it changes nothing.
"""

from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn

from melies.config import check_positive, check_range
from melies.errors import UserError
from melies.interfaces import Condition
from melies.nn.embedding import ConditionEmbedding, ConditionStates, sinusoidal_2d
from melies.nn.transformer import Block as TransformerBlock
from melies.nn.transformer import Transformer, TransformerConfig
from melies.nn.unet import Block as UNetBlock
from melies.nn.unet import UNet, UNetConfig

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)

MAX_HINT_WIDTH = 128
"""Channels of the hint encoder, which double at each halving, do not grow beyond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlConfig:
    """Shape of a control branch."""

    network: TransformerConfig | UNetConfig
    """The network that it is a branch of."""
    num_kinds: int = 1
    """Kinds of hint that it is told apart."""
    depth: int = 2
    """Blocks of a transformer that are copied, 0 for a branch that is the hint alone; of a UNet the whole way
    down is, whatever this says."""
    hint_channels: int = 3
    """Channels of a hint."""
    reduction: int = 8
    """Hint pixels along one side of a token of the transformer, or of a pixel or cell of the UNet's input;
    a power of 2."""
    hint_width: int = 16
    """Channels of the hint encoder at the hint's own size; they double at each halving."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("num_kinds", "hint_channels", "reduction", "hint_width"):
            check_positive(name, getattr(self, name))
        if self.reduction & (self.reduction - 1):
            raise UserError(f"reduction = {self.reduction} is not a power of 2", where="ControlConfig")
        if isinstance(self.network, TransformerConfig):
            check_range("depth", self.depth, low=0, high=self.network.depth)
        else:
            check_positive("depth", self.depth)

    @property
    def hint_size(self) -> int:
        """Side of a hint, in pixels."""
        return self.reduction * self._cells

    @property
    def encoded_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an encoded hint."""
        network = self.network
        width = network.dim if isinstance(network, TransformerConfig) else network.widths[0]
        return width, self._cells, self._cells

    @property
    def _cells(self) -> int:
        network = self.network
        return network.size // network.patch if isinstance(network, TransformerConfig) else network.size


class HintEncoder(nn.Sequential):
    """Convolutions that bring a hint to the size of what it is added to; the last one starts at zero."""

    def __init__(self, config: ControlConfig) -> None:
        width = config.hint_width
        layers: list[nn.Module] = [nn.Conv2d(config.hint_channels, width, 3, padding=1), nn.SiLU()]
        for _ in range(config.reduction.bit_length() - 1):
            wider = min(2 * width, max(width, MAX_HINT_WIDTH))
            layers += [nn.Conv2d(width, wider, 3, stride=2, padding=1), nn.SiLU()]
            width = wider
        super().__init__(*layers, zero(nn.Conv2d(width, config.encoded_shape[0], 1)))


class TransformerControl(nn.Module):
    """Copies of a transformer's first blocks.

    After each block of the locked network comes a residual of its own: that of block i is taken from copy i,
    and for the blocks beyond the copies from the last of them (as in Stable Diffusion 3's ControlNets).
    """

    def __init__(self, config: ControlConfig) -> None:
        super().__init__()
        network = config.network
        if not isinstance(network, TransformerConfig):
            raise TypeError(f"the branch of a transformer needs its config, not {type(network).__name__}")
        self.config, self.patch = config, network.patch
        side = network.size // network.patch
        self.hint = HintEncoder(config)
        self.kind = _kinds(config.num_kinds, network.dim)
        self.embed = nn.Linear(network.channels * network.patch**2, network.dim)
        self.register_buffer("position", sinusoidal_2d(side, side, network.dim), persistent=False)
        self.condition = ConditionEmbedding(
            network.dim, num_classes=network.num_classes, text_dim=network.text_dim
        )
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(network.dim, 6 * network.dim))
        self.blocks = nn.ModuleList(TransformerBlock(network) for _ in range(config.depth))
        self.num_residuals = network.depth
        self.join = nn.ModuleList(zero(nn.Linear(network.dim, network.dim)) for _ in range(network.depth))

    def copy_from(self, network: Transformer) -> None:
        """Take over the weights of the network that this is to be a branch of."""
        for ours, theirs in zip(self.blocks, network.blocks, strict=False):  # only the first are copied
            ours.load_state_dict(theirs.state_dict())
        for name in ("embed", "condition", "modulation"):
            getattr(self, name).load_state_dict(getattr(network, name).state_dict())

    def forward(
        self, x: Float[Tensor, "b c h w"], c_noise: Float[Tensor, " b"], condition: Condition
    ) -> tuple[Tensor, ...]:
        """One residual (b, l, d) for each block of the transformer; arguments as for `UNetControl`."""
        states = _told(self.condition(c_noise, condition), self.kind, condition)
        tokens = rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=self.patch, q=self.patch)
        hint = rearrange(encoded_hint(self.hint, condition), "b d h w -> b (h w) d")
        h = self.embed(tokens) + self.position + hint
        modulation = self.modulation(states.vector).unflatten(-1, (6, -1))
        outputs = []
        for block in self.blocks:
            h = block(h, modulation, states, None, "")
            outputs.append(h)
        last = len(outputs) - 1
        return tuple(join(outputs[min(index, last)]) for index, join in enumerate(self.join))


class UNetControl(nn.Module):
    """A copy of a UNet's way down and middle; one residual for each of its blocks."""

    def __init__(self, config: ControlConfig) -> None:
        super().__init__()
        network = config.network
        if not isinstance(network, UNetConfig):
            raise TypeError(f"the branch of a UNet needs its config, not {type(network).__name__}")
        self.config, self.blocks = config, network.blocks
        self.hint = HintEncoder(config)
        self.kind = _kinds(config.num_kinds, network.dim)
        self.condition = ConditionEmbedding(
            network.dim, num_classes=network.num_classes, text_dim=network.text_dim
        )
        self.embed = nn.Conv2d(network.channels, network.widths[0], 3, padding=1)
        width, down = network.widths[0], []
        for wider, size in zip(network.widths, network.sizes, strict=True):
            for _ in range(network.blocks):
                down.append(UNetBlock(network, width, wider, attend=size in network.attention))
                width = wider
        self.down = nn.ModuleList(down)
        self.middle = UNetBlock(network, width, width, attend=True)
        widths = [wider for wider in network.widths for _ in range(network.blocks)]
        self.num_residuals = len(widths) + 1
        self.join = nn.ModuleList(zero(nn.Conv2d(wide, wide, 1)) for wide in (*widths, width))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def copy_from(self, network: UNet) -> None:
        """Take over the weights of the network that this is to be a branch of."""
        for name in ("condition", "embed", "down", "middle"):
            getattr(self, name).load_state_dict(getattr(network, name).state_dict())

    def forward(
        self, x: Float[Tensor, "b c h w"], c_noise: Float[Tensor, " b"], condition: Condition
    ) -> tuple[Tensor, ...]:
        """One residual for each down block and one for the middle, in the shapes of `UNet.residual_shapes`.

        Args:
            x: Noisy input as the network gets it.
            c_noise: Noise level as the network gets it.
            condition: As the network gets it, and the hint: `"hint"` (b, c, h, w) in [0, 1], or
                `"hint_encoded"` from the hint encoder; with several kinds `"hint_kind"` (b,) int64.

        Raises:
            ValueError: If there is no hint.
        """
        states = _told(self.condition(c_noise, condition), self.kind, condition)
        vector = F.silu(states.vector)
        h = self.embed(x.contiguous(memory_format=torch.channels_last)) + encoded_hint(self.hint, condition)
        residuals = []
        for index, block in enumerate(self.down):
            if index and index % self.blocks == 0:
                h = F.avg_pool2d(h, 2)
            h = block(h, vector, states, None, "")
            residuals.append(self.join[index](h))
        return (*residuals, self.join[-1](self.middle(h, vector, states, None, "")))


class HintAlone(nn.Module):
    """The encoded hint after the first block of a transformer, with nothing copied.

    It is what a network needs that itself learns to read hints, and changes nothing at first.
    """

    def __init__(self, config: ControlConfig) -> None:
        super().__init__()
        network = config.network
        if not isinstance(network, TransformerConfig):
            raise TypeError(f"a hint alone needs a transformer's config, not {type(network).__name__}")
        self.config, self.num_residuals = config, network.depth
        self.hint = HintEncoder(config)
        self.kind = _kinds(config.num_kinds, network.dim)
        self.join = nn.ModuleList()  # the encoder's own last layer is the one that starts at zero

    def copy_from(self, network: Transformer) -> None:
        """Nothing is taken over."""

    def forward(
        self, x: Float[Tensor, "b c h w"], c_noise: Float[Tensor, " b"], condition: Condition
    ) -> tuple[Tensor, ...]:
        """The hint for the first block, zeros for the others; arguments as for `UNetControl`."""
        hint = rearrange(encoded_hint(self.hint, condition), "b d h w -> b (h w) d")
        if self.kind is not None:
            hint = hint + self.kind(condition["hint_kind"])[:, None]
        return hint, *(torch.zeros_like(hint) for _ in range(self.num_residuals - 1))


ControlNetwork: TypeAlias = TransformerControl | UNetControl | HintAlone


def build_control(config: ControlConfig) -> ControlNetwork:
    """The branch for the kind of network that the config names, not yet a copy of one."""
    match config.network:
        case TransformerConfig() if config.depth == 0:
            return HintAlone(config)
        case TransformerConfig():
            return TransformerControl(config)
        case UNetConfig():
            return UNetControl(config)


def zero(layer: Layer) -> Layer:
    """The same layer with weights and bias of zero."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def encoded_hint(encoder: nn.Module, condition: Condition) -> Float[Tensor, "b d h w"]:
    """The encoded hint of a condition, encoded now where the condition has it as a picture.

    Raises:
        ValueError: If it has neither.
    """
    if "hint_encoded" in condition:
        return condition["hint_encoded"]
    if "hint" not in condition:
        raise ValueError(f"a control branch needs a hint; the condition has {', '.join(condition) or 'none'}")
    return encoder(condition["hint"].to(next(encoder.parameters()).dtype))


def _kinds(count: int, dim: int) -> nn.Embedding | None:
    """A vector for each kind, zero at first; nothing to tell where there is but one."""
    if count == 1:
        return None
    kinds = nn.Embedding(count, dim)
    nn.init.zeros_(kinds.weight)
    return kinds


def _told(states: ConditionStates, kinds: nn.Embedding | None, condition: Condition) -> ConditionStates:
    """The states with the kind of the hint in their vector."""
    if kinds is None:
        return states
    number: Int64[Tensor, " b"] = condition["hint_kind"]
    return states._replace(vector=states.vector + kinds(number))
