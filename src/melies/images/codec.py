"""A small convolutional autoencoder with a KL term: pixels to latents one eighth as wide, and back.

The latent codec of latent diffusion (Rombach et al. 2022, §3.1), sized for small pictures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from melies.config import check_positive, from_json
from melies.gaussian import standard_kl
from melies.nn.pyramid import check_widths, down, up
from melies.transform import Transform


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecConfig:
    """Shape of a codec."""

    channels: int = 3
    """Channels of a picture."""
    latent_channels: int = 16
    """Channels of a latent."""
    widths: tuple[int, ...] = (40, 80, 112)
    """Channels at 1/2, 1/4, 1/8 … of the picture's size; their number sets the reduction."""
    encoder_blocks: int = 1
    """Residual blocks per size in the encoder."""
    decoder_blocks: int = 2
    """Residual blocks per size in the decoder, which has the harder work."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("channels", "latent_channels", "encoder_blocks", "decoder_blocks"):
            check_positive(name, getattr(self, name))
        check_widths(self.widths, where="CodecConfig.widths")

    @property
    def reduction(self) -> int:
        """Pixels per latent cell, along one side."""
        return 2 ** len(self.widths)


class ImageCodec(nn.Module):
    """Encoder and decoder between pictures and latents, which its user standardises."""

    kind = "image-codec"

    def __init__(self, config: CodecConfig, transforms: Mapping[str, Transform] | None = None) -> None:
        super().__init__()
        self.config = config
        self.transforms: dict[str, Transform] = dict(transforms or {})
        self.parts: dict[str, nn.Module] = {}
        widths, latent = config.widths, config.latent_channels
        self.encoder = nn.Sequential(
            *down(config.channels, widths, blocks=config.encoder_blocks),
            nn.GroupNorm(8, widths[-1]),
            nn.Conv2d(widths[-1], 2 * latent, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent, widths[-1], 3, padding=1),
            *up(config.channels, widths, blocks=config.decoder_blocks),
        )

    def posterior(self, pixels: Float[Tensor, "b c h w"]) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each (b, d, h/r, w/r), before standardisation."""
        mean, logvar = self.encoder(pixels).chunk(2, dim=1)
        return mean.float(), logvar.float().clamp(-20, 5)

    def forward(
        self, pixels: Float[Tensor, "b c h w"], epsilon: Float[Tensor, "b d h2 w2"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One training pass: reconstruction from a sample of q(z|x), and the mean and log-variance."""
        mean, logvar = self.posterior(pixels)
        return self.decoder(mean + (0.5 * logvar).exp() * epsilon).float(), mean, logvar

    def encode(self, pixels: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Posterior mean of pictures in [−1, 1]."""
        return self.posterior(pixels)[0]

    def decode(self, latents: Float[Tensor, "b d h2 w2"]) -> Float[Tensor, "b c h w"]:
        """Pictures, about [−1, 1], of latents."""
        return self.decoder(latents).float()


def kl_divergence(mean: Float[Tensor, "b *event"], logvar: Float[Tensor, "b *event"]) -> Float[Tensor, " b"]:
    """KL(N(mean, exp logvar) ‖ N(0, 1)) in nats per sample."""
    return standard_kl(mean, logvar).flatten(1).sum(1)


def reconstruction_error(
    x: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"], *, edge_weight: float
) -> Float[Tensor, " b"]:
    """Absolute error at full, half and quarter size, and of the differences between neighbours.

    The differences make outlines crisp, where drawings have most of their information.
    """
    total = torch.zeros(len(x), device=x.device)
    for size in (1, 2, 4):
        a, b = (F.avg_pool2d(v, size) if size > 1 else v for v in (x, target))
        total = total + (a - b).abs().flatten(1).mean(1) / 3
    for axis in (2, 3):
        total = total + edge_weight * (x.diff(dim=axis) - target.diff(dim=axis)).abs().flatten(1).mean(1)
    return total


def restore(
    config: Mapping[str, Any], transforms: Mapping[str, Transform], parts: Mapping[str, Any]
) -> ImageCodec:
    """Build a codec from the config of a checkpoint."""
    return ImageCodec(from_json(CodecConfig, config), transforms)
