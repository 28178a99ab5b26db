"""The latent codec of the emoji model: 64×64 pictures to 8×8×16 latents and back.

    melies data prepare emoji
    melies train emoji-codec --out runs/emoji-codec

The default run is the one that the shipped codec had: 24 minutes on one core of a server's processor, at
105 pictures a second, for a PSNR of 31 dB on the pictures that it learns from.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from melies import checkpoint
from melies.config import check_positive, check_range
from melies.data.balance import index_stream
from melies.data.emoji import read_emoji
from melies.errors import UserError
from melies.images.codec import CodecConfig, ImageCodec, kl_divergence, reconstruction_error
from melies.interfaces import Objective
from melies.recipes.job import Job
from melies.recipes.preview import write_preview
from melies.report.figure import grid
from melies.rng import seeded
from melies.training.loop import State, TrainingConfig, train
from melies.transform import PixelRange


@dataclass(frozen=True, slots=True, kw_only=True)
class EmojiCodecConfig:
    """The codec, its loss and its training."""

    codec: CodecConfig = CodecConfig()
    """Shape of the network."""
    size: int = 64
    """Side of the pictures, in pixels."""
    kl_weight: float = 3e-6
    """Weight of the KL term in nats per picture, against a mean absolute error."""
    edge_weight: float = 0.5
    """Weight of the error of differences between neighbouring pixels."""
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            num_samples=150_000,
            batch_size=64,
            learning_rate=2e-3,
            warmup=6_400,
            betas=(0.9, 0.95),
            weight_decay=0.0,
            ema_half_life=5_000,
            preview_every=50_000,
        )
    )
    """The run."""

    def __post_init__(self) -> None:
        """Check the ranges, and that the pictures divide into cells."""
        check_positive("size", self.size)
        if self.size % self.codec.reduction:
            raise UserError(
                f"size = {self.size} does not divide by {self.codec.reduction}, the codec's reduction"
            )
        for name in ("kl_weight", "edge_weight"):
            check_range(name, getattr(self, name), low=0)


CONFIG = EmojiCodecConfig()


def run(
    config: EmojiCodecConfig,
    job: Job,
) -> State:
    """Train the codec on the pictures of `data`, held-out rows left aside."""
    everything = read_emoji(job.data, size=config.size, progress=job.progress, say=job.say)
    pictures = everything.training()
    job.say(f"{len(pictures.pixels)} training pictures of {config.size}×{config.size}")
    with seeded(config.training.seed, "weights"):
        model = _build(config, job.start_from)
    config = replace(config, codec=model.config)
    pixels = pictures.pixels
    order = index_stream(torch.ones(len(pixels), dtype=torch.float64), seed=config.training.seed)

    def batches(start: int, size: int) -> dict[str, torch.Tensor]:
        return {"pixels": PixelRange().forward(pixels[order(start, size)])}

    def preview(codec: Any, folder: Path, samples_seen: int) -> None:
        some = PixelRange().forward(pixels[torch.linspace(0, len(pixels) - 1, 16).long()])
        rebuilt = codec.decode(codec.encode(some))
        both = torch.stack([some, rebuilt], 1).flatten(0, 1)
        write_preview(folder, samples_seen, grid(PixelRange().inverse(both), columns=8, zoom=2))

    return train(
        model,
        [Objective("codec", lambda codec: codec.parameters(), codec_loss(config))],
        batches,
        config.training,
        out=job.out,
        resume=job.resume,
        provenance=job.provenance("emoji-codec", num_pictures=len(pixels)),
        preview=preview,
        progress=job.progress,
    )


def _build(config: EmojiCodecConfig, start_from: str | None) -> ImageCodec:
    if start_from is None:
        return ImageCodec(config.codec)
    model = checkpoint.load(start_from).model
    if not isinstance(model, ImageCodec):
        raise UserError("not a codec", where=start_from, remedy="name one that melies train emoji-codec made")
    return model.train()


def codec_loss(config: EmojiCodecConfig):
    """The loss of this recipe: absolute error with edges, and the weighted KL term."""

    def loss_fn(model, batch, rng):
        pixels = batch["pixels"]
        cells = (
            len(pixels),
            config.codec.latent_channels,
            *(s // config.codec.reduction for s in pixels.shape[2:]),
        )
        epsilon = torch.randn(cells, generator=rng).to(pixels)
        rebuilt, mean, logvar = model(pixels, epsilon)
        error = reconstruction_error(rebuilt, pixels, edge_weight=config.edge_weight).mean()
        kl = kl_divergence(mean, logvar).mean()
        squared = (rebuilt - pixels).square().mean()
        return error + config.kl_weight * kl, {
            "psnr": float(10 * torch.log10(4 / squared.detach())),
            "kl": float(kl.detach()),
        }

    return loss_fn
