"""VQ-VAE, first stage: 28×28 grey pictures to 7×7 codes of a codebook of 512, and back.

    melies data prepare fashion-mnist
    melies train vqvae --out runs/vqvae
    melies train vqvae-prior --from runs/vqvae --out runs/vqvae-prior

The second command trains the autoencoder, the third the prior over its codes, which makes it draw. Codes
that fall out of use are put back among the latents (--model.quantizer.restart); docs/ladder.md has how many
are in use with that and without, and what ten minutes on one core give.
`vqvae-fsq` is the same autoencoder with finite scalar quantisation (8×8×8 levels) in the place of the
codebook. With --data it learns one's own pictures, of the size and channels that the model is given:

    melies train vqvae-fsq --out runs/vqvae-fsq
    melies train vqvae --data MY-PICTURES --model.size 64 --model.channels 3 --model.widths 32 64 96
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from melies.autoencoders.quantize import FiniteScalarConfig
from melies.autoencoders.vqvae import VQVAE, VQVAEConfig, codes_of, start_codebook
from melies.config import check_range
from melies.data.batches import picture_batches
from melies.interfaces import Objective
from melies.machine import is_main_process
from melies.metrics.codebook import count_codes
from melies.recipes.job import Job
from melies.recipes.preview import preview_autoencoder
from melies.recipes.start import build
from melies.rng import generator_for, seeded
from melies.training.loop import State, TrainingConfig, train


@dataclass(frozen=True, slots=True, kw_only=True)
class VQVAERunConfig:
    """The autoencoder, its loss and its training."""

    model: VQVAEConfig = VQVAEConfig()
    """Shape of the autoencoder, and its codes."""
    commitment: float = 0.25
    """Weight of the distance between latents and their codes, against the mean squared error of pixels."""
    flip: bool = False
    """Whether half of the pictures are shown mirrored."""
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            num_samples=200_000,
            batch_size=128,
            learning_rate=2e-3,
            warmup=6_400,
            weight_decay=0.0,
            ema_half_life=5_000,
            log_every=6_400,
            preview_every=100_000,
        )
    )
    """The run."""

    def __post_init__(self) -> None:
        """Check the range."""
        check_range("commitment", self.commitment, low=0)


CONFIG = VQVAERunConfig()
FSQ = VQVAERunConfig(model=VQVAEConfig(quantizer=FiniteScalarConfig()))


def run(
    config: VQVAERunConfig,
    job: Job,
) -> State:
    """Train on Fashion-MNIST, or on one's own pictures.

    Raises:
        UserError: If the pictures cannot fill the codebook, or the model to start from does not fit.
    """
    seed = config.training.seed
    with seeded(seed, "weights"):
        model = build(VQVAE, config.model, job.start_from, called="vqvae")
        model.parts.clear()  # a prior over the codes of before says nothing of those to come
    pictures = job.read(
        "fashion-mnist", size=model.config.size, channels=model.config.channels, classes=False
    )
    if job.start_from is None:
        start_codebook(model, pictures.pixels, generator_for(seed, "codebook"))
    count = sum(p.numel() for p in model.parameters())
    job.say(
        f"{len(pictures)} pictures to {model.config.cells}×{model.config.cells} cells of"
        f" {model.quantizer.num_codes} codes, {count:,} weights"
    )
    state = train(
        model,
        [Objective("vqvae", lambda m: m.parameters(), vqvae_loss(config))],
        picture_batches(pictures, seed=seed, flip=config.flip),
        config.training,
        out=job.out,
        resume=job.resume,
        provenance=job.provenance("vqvae", num_pictures=len(pictures)),
        preview=preview_autoencoder(pictures, draws=False),
        progress=job.progress,
    )
    _tell_use(state.ema.model, pictures.pixels, job)
    return state


def vqvae_loss(config: VQVAERunConfig) -> Callable[..., tuple[Tensor, dict[str, float]]]:
    """Squared error of the pixels, and the commitment of the latents to their codes."""

    def loss_fn(model, batch, rng):
        pixels = batch["pixels"]
        rebuilt, quantized = model(pixels, rng)
        squared = (rebuilt - pixels).square().mean()
        return squared + config.commitment * quantized.commitment, {
            "psnr": float(10 * torch.log10(4 / squared.detach())),
            "commitment": float(quantized.commitment.detach()),
        }

    return loss_fn


def _tell_use(model: Any, pixels: Tensor, job: Job) -> None:
    """How many codes the pictures take, all of them: in one batch some are always missing."""
    if not is_main_process():
        return
    found = count_codes(codes_of(model, pixels), model.quantizer.num_codes)
    job.say(f"{found.usage:.1%} of the codes are in use, with a perplexity of {found.perplexity:.0f}")
