"""VAE and conditional VAE: 28×28 grey pictures to 16 numbers each, and from such numbers to new pictures.

    melies data prepare fashion-mnist
    melies train vae --out runs/vae
    melies train cvae --out runs/cvae
    melies generate --model runs/cvae --class sneaker --count 8

`cvae` is told the class in encoder and decoder. `--beta` weighs the KL term, `--free-bits` spares its
first nats in each number of the latent; at the end the run says which numbers its posterior has left
unused. Likelihoods are black and white (with `--binarize static` or `dynamic`), Gaussian, and Gaussian
over the 256 levels, whose bound can be read in bits per dimension.

With β = 1 the bound is tightest, but draws from the prior fall where no picture's posterior does; `cvae`
takes β = 5, and draws its classes more clearly, though a little farther from real pictures than a smaller β
would. What both give in ten minutes on one core is in docs/ladder.md. With --data it learns one's own
pictures, of the size and channels that the network is given, be it CIFAR-10 or a folder of faces:

    melies train cvae --data CIFAR10 --model.network.size 32 --model.network.channels 3
    melies train vae --data FACES --model.network.size 64 --model.network.channels 3
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from melies.autoencoders.elbo import beta_loss
from melies.autoencoders.likelihood import binarize, binarize_once
from melies.autoencoders.vae import VAE, VAEConfig, posteriors
from melies.config import check_range
from melies.data.batches import picture_batches
from melies.data.images import ImageSet
from melies.errors import UserError
from melies.interfaces import LossFn, Objective
from melies.metrics.latent import latent_use
from melies.recipes.job import Job
from melies.recipes.preview import preview_autoencoder
from melies.recipes.start import build
from melies.rng import seeded
from melies.training.loop import State, TrainingConfig, train


@dataclass(frozen=True, slots=True, kw_only=True)
class VAERunConfig:
    """The VAE, its bound and its training."""

    model: VAEConfig = VAEConfig()
    """Shape of the VAE, and its likelihood; the classes come from the data."""
    conditional: bool = False
    """Whether to learn the classes, each of which can then be asked for."""
    beta: float = 1.0
    """Weight of the KL term; 1 for the evidence lower bound."""
    free_bits: float = 0.0
    """Nats of KL in each number of a latent, on average over a batch, below which nothing is paid."""
    binarize: Literal["no", "static", "dynamic"] = "no"
    """Whether pictures are drawn in black and white from their grey levels: once, or anew for every batch."""
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

    def __post_init__(self) -> None:
        """Check the ranges, and that nothing is asked for that cannot be."""
        check_range("beta", self.beta, low=0)
        check_range("free_bits", self.free_bits, low=0)
        if self.model.classes:
            raise UserError(
                "the classes come from the data", where="model.classes", remedy="set conditional instead"
            )
        if self.binarize != "no" and self.model.likelihood != "bernoulli":
            raise UserError(
                f"a {self.model.likelihood} likelihood is not for black and white pictures",
                where="binarize",
                remedy="set model.likelihood to bernoulli",
            )


CONFIG = VAERunConfig()
CONDITIONAL = VAERunConfig(conditional=True, beta=5.0)


def run(
    config: VAERunConfig,
    job: Job,
) -> State:
    """Train on Fashion-MNIST, or on one's own pictures.

    Raises:
        UserError: If the pictures are not of the network's shape, or lack classes that are to be learned.
    """
    network, seed = config.model.network, config.training.seed
    pictures = job.read(
        "fashion-mnist", size=network.size, channels=network.channels, classes=config.conditional
    )
    with seeded(seed, "weights"):
        shape = replace(config.model, classes=pictures.classes if config.conditional else ())
        model = build(VAE, shape, job.start_from, called="vae or cvae")
    if config.binarize == "static":
        pictures = ImageSet(**{**vars(pictures), "pixels": binarize_once(pictures.pixels, seed=seed)})
    count = sum(p.numel() for p in model.parameters())
    known = f" of {len(model.classes)} classes" if model.classes else ""
    job.say(f"{len(pictures)} pictures{known} to {network.latent_dim} numbers each, {count:,} weights")
    state = train(
        model,
        [Objective("vae", lambda m: m.parameters(), vae_loss(config))],
        picture_batches(pictures, seed=seed, flip=config.flip),
        config.training,
        out=job.out,
        resume=job.resume,
        provenance=job.provenance(
            "cvae" if config.conditional else "vae",
            num_pictures=len(pictures),
            beta=config.beta,
            free_bits=config.free_bits,
            binarize=config.binarize,
        ),
        preview=preview_autoencoder(pictures, draws=True),
        progress=job.progress,
    )
    some = torch.linspace(0, len(pictures) - 1, min(len(pictures), 2000)).long()
    labels = None if pictures.labels is None or not model.classes else pictures.labels[some]
    if len(some) > 1:
        job.say(latent_use(*posteriors(state.ema.model, pictures.pixels[some], labels)).statement)  # type: ignore[arg-type]
    return state


def vae_loss(config: VAERunConfig) -> LossFn:
    """The β-weighted bound, in nats per pixel, so that gradients do not grow with the picture."""

    def loss_fn(model, batch, rng):
        pixels = batch["pixels"]
        if config.binarize == "dynamic":
            pixels = binarize(pixels, rng)
        epsilon = torch.randn((len(pixels), config.model.network.latent_dim), generator=rng).to(pixels)
        terms = model(pixels, epsilon, batch["class"] if config.conditional else None)
        loss = beta_loss(*terms, beta=config.beta, floor=config.free_bits) / pixels[0].numel()
        return loss, {
            "nll": -float(terms.log_likelihood.detach().mean()),
            "kl": float(terms.kl.detach().sum(1).mean()),
        }

    return loss_fn
