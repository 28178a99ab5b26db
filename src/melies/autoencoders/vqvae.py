"""The VQ-VAE: pictures to a grid of codes and back, and, with a prior over codes, new pictures.

van den Oord et al. (2017), "Neural Discrete Representation Learning". Trained in two stages: first
the autoencoder with its quantiser, then the prior (`melies.autoencoders.prior`) on the codes of the
data; it is a part of the checkpoint.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from melies.autoencoders.prior import CodePrior
from melies.autoencoders.quantize import CodebookConfig, FiniteScalarConfig, Quantized, build_quantizer
from melies.config import check_positive, from_json
from melies.errors import UserError
from melies.interfaces import Noise
from melies.nn.inputs import check_labels, check_pictures
from melies.nn.pyramid import cell_size, check_widths, down, up
from melies.transform import PixelRange, Transform

TEMPERATURE = 0.8
"""At which pictures are drawn where no other is given: below 1, for a prior that was not trained to its
end leaves too much probability with codes that never stand side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VQVAEConfig:
    """Shape of a VQ-VAE."""

    size: int = 28
    """Side of the pictures, in pixels."""
    channels: int = 1
    """Channels of a picture: 1 or 3."""
    widths: tuple[int, ...] = (32, 64)
    """Channels at 1/2, 1/4, 1/8 … of the picture's size; their number sets the size of the grid of codes."""
    encoder_blocks: int = 1
    """Residual blocks per size in the encoder."""
    decoder_blocks: int = 2
    """Residual blocks per size in the decoder."""
    quantizer: CodebookConfig | FiniteScalarConfig = CodebookConfig()
    """What turns latents into codes."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("size", "channels", "encoder_blocks", "decoder_blocks"):
            check_positive(name, getattr(self, name))
        check_widths(self.widths, where="VQVAEConfig.widths")
        cell_size(self.size, self.widths, where="VQVAEConfig.size")

    @property
    def cells(self) -> int:
        """Side of the grid of codes."""
        return cell_size(self.size, self.widths, where="VQVAEConfig.size")


class VQVAE(nn.Module):
    """Encoder, quantiser and decoder; it draws where its checkpoint holds a prior over codes."""

    kind = "vqvae"

    def __init__(self, config: VQVAEConfig, *, prior: CodePrior | None = None) -> None:
        """Put the parts together; the networks start untrained.

        Raises:
            UserError: If the prior is one over other codes, or over another grid.
        """
        super().__init__()
        self.config = config
        self.transforms: dict[str, Transform] = {}
        self.parts: dict[str, CodePrior] = {}
        widths, dim = config.widths, config.quantizer.dim
        self.encoder = nn.Sequential(
            *down(config.channels, widths, blocks=config.encoder_blocks),
            nn.GroupNorm(8, widths[-1]),
            nn.Conv2d(widths[-1], dim, 1),
        )
        self.quantizer = build_quantizer(config.quantizer)
        self.decoder = nn.Sequential(
            nn.Conv2d(dim, widths[-1], 3, padding=1),
            *up(config.channels, widths, blocks=config.decoder_blocks),
        )
        if prior is not None:
            ours, theirs = (
                (config.quantizer.num_codes, config.cells),
                (prior.config.num_codes, prior.config.cells),
            )
            if ours != theirs:
                raise UserError(
                    f"a prior over {theirs[1]}×{theirs[1]} cells of {theirs[0]} codes does not fit"
                    f" {ours[1]}×{ours[1]} cells of {ours[0]}",
                    remedy="take the prior that was trained on this VQ-VAE",
                )
            self.parts["prior"] = prior.eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a picture."""
        return (self.config.channels, self.config.size, self.config.size)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes it can be asked for: those of its prior."""
        return self.parts["prior"].config.classes if "prior" in self.parts else ()

    def forward(
        self, pixels: Float[Tensor, "b c h w"], generator: torch.Generator
    ) -> tuple[Float[Tensor, "b c h w"], Quantized]:
        """One training pass: the reconstruction, and the codes it was made of.

        In training mode the codebook moves as well; the generator says where unused codes go.
        """
        latents = self.encode(pixels)
        quantized = self.quantizer(latents)
        if self.training:
            self.quantizer.update(latents, quantized.codes, generator)
        return self.decoder(quantized.latents).float(), quantized

    def encode(
        self, pixels: Float[Tensor, "b c h w"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b d h2 w2"]:
        """Latents before quantisation, so that straight ways between two of them make sense.

        The class does not matter, nor need it be given.
        """
        check_pictures(pixels, self.shape)
        self._check_labels(labels, len(pixels))
        return self.encoder(pixels).float()

    def decode(
        self, latents: Float[Tensor, "b d h2 w2"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Pictures, about [−1, 1], of latents, which are quantised first."""
        self._check_labels(labels, len(latents))
        return self.decode_codes(self.quantizer(latents).codes)

    def codes(self, pixels: Float[Tensor, "b c h w"]) -> Int64[Tensor, "b h2 w2"]:
        """The codes of pictures in [−1, 1]."""
        return self.quantizer(self.encode(pixels)).codes

    def decode_codes(self, codes: Int64[Tensor, "b h2 w2"]) -> Float[Tensor, "b c h w"]:
        """Pictures, about [−1, 1], of codes."""
        return self.decoder(self.quantizer.lookup(codes)).float()

    @torch.no_grad()
    def sample(
        self,
        num: int,
        *,
        noise: Noise,
        labels: Int64[Tensor, " b"] | None = None,
        temperature: float = TEMPERATURE,
        top_k: int | None = None,
        top_p: float = 1.0,
    ) -> Float[Tensor, "b c h w"]:
        """New pictures from codes that the prior draws; see `CodePrior.sample`.

        Raises:
            UserError: If there is no prior; and as `CodePrior.sample` does.
        """
        if "prior" not in self.parts:
            raise UserError(
                "this VQ-VAE has no prior over its codes, so it cannot draw",
                remedy="train one with `melies train vqvae-prior --from MODEL`",
            )
        codes = self.parts["prior"].sample(
            num, noise=noise, labels=labels, temperature=temperature, top_k=top_k, top_p=top_p
        )
        return self.decode_codes(codes)

    def _check_labels(self, labels: Int64[Tensor, " b"] | None, num: int) -> None:
        if labels is not None:
            check_labels(labels, self.classes, num)


def start_codebook(
    model: VQVAE, pixels: UInt8[Tensor, "n c h w"], generator: torch.Generator, *, latents_per_code: int = 32
) -> None:
    """Put the first codebook where the latents of some pictures are, drawn from those of the data.

    Raises:
        UserError: If all pictures together have fewer latent vectors than there are codes.
    """
    needed = math.ceil(latents_per_code * model.quantizer.num_codes / model.config.cells**2)
    chosen = torch.randperm(len(pixels), generator=generator)[:needed]
    latents = torch.cat(list(_in_blocks(model, model.encode, pixels[chosen])))
    model.quantizer.start(latents, generator)


def codes_of(model: VQVAE, pixels: UInt8[Tensor, "n c h w"]) -> Int64[Tensor, "n h2 w2"]:
    """The codes of many pictures, on the CPU; the model sees some at a time."""
    return torch.cat([codes.cpu() for codes in _in_blocks(model, model.codes, pixels)])


@torch.no_grad()
def _in_blocks(
    model: VQVAE, function: Callable[[Tensor], Tensor], pixels: Tensor, *, size: int = 256
) -> Iterator[Tensor]:
    for part in pixels.split(size):
        yield function(PixelRange().forward(part).to(model.device))


def restore(
    config: Mapping[str, Any], transforms: Mapping[str, Transform], parts: Mapping[str, Any]
) -> VQVAE:
    """Build a VQ-VAE from the config of a checkpoint and its prior."""
    return VQVAE(from_json(VQVAEConfig, config), prior=parts.get("prior"))
