"""The halves of an autoencoder with one vector per picture; the class, where there is one, enters both."""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from melies.config import check_positive
from melies.nn.pyramid import cell_size, check_widths, down, up


@dataclass(frozen=True, slots=True, kw_only=True)
class HalvesConfig:
    """Shape of encoder and decoder."""

    size: int = 28
    """Side of the pictures, in pixels."""
    channels: int = 1
    """Channels of a picture: 1 or 3."""
    latent_dim: int = 16
    """Numbers in a latent."""
    widths: tuple[int, ...] = (32, 64)
    """Channels at 1/2, 1/4, 1/8 … of the picture's size."""
    encoder_blocks: int = 1
    """Residual blocks per size in the encoder."""
    decoder_blocks: int = 1
    """Residual blocks per size in the decoder."""
    hidden: int = 256
    """Width of the layer between cells and latent, where the class comes in."""

    def __post_init__(self) -> None:
        """Check the ranges, and that the pictures divide into cells."""
        for name in ("size", "channels", "latent_dim", "encoder_blocks", "decoder_blocks", "hidden"):
            check_positive(name, getattr(self, name))
        check_widths(self.widths, where="HalvesConfig.widths")
        cell_size(self.size, self.widths, where="HalvesConfig.size")

    @property
    def cells(self) -> tuple[int, int, int]:
        """Channels, height and width of the smallest cells."""
        side = cell_size(self.size, self.widths, where="HalvesConfig.size")
        return (self.widths[-1], side, side)

    @property
    def num_features(self) -> int:
        """Numbers in the smallest cells."""
        channels, height, width = self.cells
        return channels * height * width


class Encoder(nn.Module):
    """Pictures to `num_outputs` numbers each."""

    def __init__(self, config: HalvesConfig, *, num_outputs: int, num_classes: int = 0) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *down(config.channels, config.widths, blocks=config.encoder_blocks),
            nn.GroupNorm(8, config.widths[-1]),
            nn.SiLU(),
            nn.Flatten(),
        )
        self.first = nn.Linear(config.num_features, config.hidden)
        self.label = nn.Embedding(num_classes, config.hidden) if num_classes else None
        self.second = nn.Linear(config.hidden, num_outputs)

    def forward(
        self, pixels: Float[Tensor, "b c h w"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b o"]:
        """Labels are for an encoder with classes, and needed there."""
        hidden = self.first(self.trunk(pixels))
        return self.second(F.silu(_with_label(hidden, self.label, labels)))


class Decoder(nn.Module):
    """Latents to pictures, or to whatever else there is one number of for every pixel."""

    def __init__(self, config: HalvesConfig, *, num_classes: int = 0) -> None:
        super().__init__()
        self.first = nn.Linear(config.latent_dim, config.hidden)
        self.label = nn.Embedding(num_classes, config.hidden) if num_classes else None
        self.second = nn.Linear(config.hidden, config.num_features)
        self.trunk = nn.Sequential(
            nn.Unflatten(1, config.cells), *up(config.channels, config.widths, blocks=config.decoder_blocks)
        )

    def forward(
        self, latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Labels are for a decoder with classes, and needed there."""
        hidden = _with_label(self.first(latents), self.label, labels)
        return self.trunk(self.second(F.silu(hidden)))


def _with_label(hidden: Tensor, embedding: nn.Embedding | None, labels: Tensor | None) -> Tensor:
    if (embedding is None) != (labels is None):
        raise ValueError("labels are for a network with classes, and needed there")
    return hidden if embedding is None else hidden + embedding(labels)
