"""Plain autoencoder: 28×28 grey pictures to 16 numbers each and back.

    melies data prepare fashion-mnist
    melies train autoencoder --out runs/autoencoder

It ends with fitting a Gaussian to the latents of the pictures, from which it draws; a mixture of ten
with `--model.components 10`. On one processor core it sees some 1,400 pictures a second, and is done in
four minutes. With --data it learns one's own pictures, of the size and channels that the network is
given, be it CIFAR-10 or a folder of faces:

    melies train autoencoder --data CIFAR10 --model.network.size 32 --model.network.channels 3
    melies train autoencoder --data FACES --model.network.size 64 --model.network.channels 3
"""

from dataclasses import dataclass, field

import torch

from melies import checkpoint
from melies.autoencoders.ae import Autoencoder, AutoencoderConfig
from melies.data.batches import picture_batches
from melies.data.images import ImageSet
from melies.errors import UserError
from melies.interfaces import Objective
from melies.machine import is_main_process
from melies.metrics.features import collect
from melies.recipes.job import Job
from melies.recipes.preview import preview_autoencoder
from melies.recipes.start import build
from melies.rng import seeded
from melies.training.loop import State, TrainingConfig, train
from melies.transform import PixelRange


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencoderRunConfig:
    """The autoencoder and its training."""

    model: AutoencoderConfig = AutoencoderConfig()
    """Shape of the autoencoder, and of the prior that is fitted to its latents."""
    flip: bool = False
    """Whether half of the pictures are shown mirrored."""
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            num_samples=300_000,
            batch_size=128,
            learning_rate=2e-3,
            warmup=6_400,
            ema_half_life=5_000,
            log_every=6_400,
            preview_every=100_000,
        )
    )
    """The run."""


CONFIG = AutoencoderRunConfig()


def run(
    config: AutoencoderRunConfig,
    job: Job,
) -> State:
    """Train on Fashion-MNIST, or on one's own pictures, and fit the prior.

    Raises:
        UserError: If the pictures are not of the network's shape, or fewer than its prior has Gaussians.
    """
    network = config.model.network
    pictures = job.read("fashion-mnist", size=network.size, channels=network.channels, classes=False)
    if len(pictures) <= config.model.components:
        raise UserError(f"{len(pictures)} pictures are too few for {config.model.components} Gaussians")
    with seeded(config.training.seed, "weights"):
        model = build(Autoencoder, config.model, job.start_from, called="autoencoder")
    count = sum(p.numel() for p in model.parameters())
    job.say(f"{len(pictures)} pictures to {network.latent_dim} numbers each, {count:,} weights")
    state = train(
        model,
        [Objective("autoencoder", lambda m: m.parameters(), squared_error)],
        picture_batches(pictures, seed=config.training.seed, flip=config.flip),
        config.training,
        out=job.out,
        resume=job.resume,
        provenance=job.provenance("autoencoder", num_pictures=len(pictures)),
        preview=preview_autoencoder(pictures, draws=False),
        progress=job.progress,
    )
    _fit_prior(state, pictures, config, job)
    return state


def squared_error(model, batch, rng):
    """Mean squared error of the reconstructed pixels."""
    pixels = batch["pixels"]
    error = (model(pixels) - pixels).square().mean()
    return error, {"psnr": float(10 * torch.log10(4 / error.detach()))}


def _fit_prior(state: State, pictures: ImageSet, config: AutoencoderRunConfig, job: Job) -> None:
    """Fit the prior to the latents of the averaged model, and put it into the last checkpoint."""
    averaged = state.ema.model
    if not isinstance(averaged, Autoencoder) or not isinstance(state.model, Autoencoder):
        raise TypeError(f"expected the model that is trained, got {type(averaged).__name__}")
    device = next(averaged.parameters()).device
    batches = (PixelRange().forward(some.to(device)) for some in pictures.pixels.split(256))
    latents = collect(batches, averaged.encode)
    averaged.fit_prior(latents, seed=config.training.seed)
    state.model.fit_prior(latents, seed=config.training.seed)
    if not is_main_process():
        return
    folder = job.out / f"checkpoint-{state.samples_seen}"
    checkpoint.save(
        folder,
        state.model,  # type: ignore[arg-type]
        ema=state.ema.state_dict(),
        resume=checkpoint.read_resume(folder),
        provenance=checkpoint.load(folder).provenance,
    )
    job.say(f"its latents were fitted with {config.model.components} Gaussian(s), to draw from")
