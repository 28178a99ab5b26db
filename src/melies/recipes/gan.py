"""GANs: noise to 28×28 grey pictures in one pass, by a modern game and by the two classical ones.

    melies data prepare fashion-mnist
    melies train gan --out runs/gan
    melies train cgan --out runs/cgan
    melies train gan-minimax --out runs/gan-minimax
    melies train gan-nonsaturating --out runs/gan-nonsaturating

`gan` is a pair of residual networks without normalisation, a relativistic loss with R1 and R2
penalties and averaged weights (after R3GAN, Huang et al. 2024); `cgan` is the same by class. The other two
are a DCGAN (Radford et al. 2016) with the rates given there, by the two losses of Goodfellow et al. (2014),
which learns the classes with --conditional. On one processor core the first two see some 340 pictures a
second, the others 1,000. After ten minutes on one (docs/ladder.md) `fashion-mnist-judge` sees the class that
was asked for in 89.0 % [87.6, 90.3] of 2,000 drawings of `cgan`, at a Fréchet distance of 0.7 [0.4, 1.4] in
`fashion-mnist-features`; `gan` is at 5.3 [4.5, 6.4], and the class that it draws least has 7.9 % [6.4, 9.8];
`gan-minimax` at 19.0 [17.8, 20.5] and 6.0 % [5.0, 7.1].
With --data they learn one's own pictures, of the size and channels given:

    melies train gan --data CIFAR10 --model.size 32 --model.channels 3 --model.network.widths 32 64 96
    melies train cgan --data FACES --model.size 64 --model.channels 3 --model.network.widths 32 64 96 96

In the log, `logit_real` and `logit_fake` drift apart where the discriminator wins, and `spread` (how
much fakes differ from each other, as a share of what real pictures do) falls where the generator
collapses.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from melies.config import check_range
from melies.data.batches import picture_batches
from melies.errors import UserError
from melies.gan.config import ConvolutionalConfig, GANConfig, ResidualConfig
from melies.gan.game import adversarial_objectives
from melies.gan.model import GAN
from melies.recipes.job import Job
from melies.recipes.preview import write_drawn
from melies.recipes.start import build
from melies.rng import noise_for, seeded
from melies.training.loop import State, TrainingConfig, train

PREVIEWS = 8
"""Rows and, without classes, columns of a preview."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GANRunConfig:
    """The two networks, their game, and its training."""

    model: GANConfig
    """Shape of the networks; the classes come from the data."""
    game: Literal["minimax", "nonsaturating", "relativistic"]
    """What the two networks minimise."""
    gamma: float = 0.0
    """Weight of the gradient penalties R1 and R2 of the discriminator; 0 for none."""
    conditional: bool = False
    """Whether to learn the classes, each of which can then be asked for."""
    flip: bool = False
    """Whether half of the pictures are shown mirrored."""
    training: TrainingConfig
    """The run."""

    def __post_init__(self) -> None:
        """Check the ranges, and that nothing is asked for that cannot be."""
        check_range("gamma", self.gamma, low=0)
        if self.model.classes:
            raise UserError(
                "the classes come from the data", where="model.classes", remedy="set conditional instead"
            )
        if self.gamma and isinstance(self.model.network, ConvolutionalConfig):
            raise UserError(
                "the penalties need logits of one picture each, and batch normalisation mixes a batch",
                where="gamma",
                remedy="take gamma = 0, or the residual network",
            )
        if self.gamma and self.training.compile:
            raise UserError(
                "compiled networks have no gradients of gradients, which the penalties need",
                where="training.compile",
                remedy="leave it out",
            )


CONFIG = GANRunConfig(
    model=GANConfig(network=ResidualConfig()),
    game="relativistic",
    gamma=0.3,
    training=TrainingConfig(
        num_samples=160_000,
        batch_size=32,
        learning_rate=2e-3,
        warmup=0,
        decay="cosine",
        hold=0.5,
        betas=(0.0, 0.99),
        weight_decay=0.0,
        clip=0.0,
        ema_half_life=5_000,
        log_every=3_200,
        preview_every=25_600,
    ),
)
CONDITIONAL = replace(CONFIG, conditional=True)
MINIMAX = GANRunConfig(
    model=GANConfig(network=ConvolutionalConfig(), latent_dim=100),
    game="minimax",
    training=replace(
        CONFIG.training,
        num_samples=200_000,
        batch_size=64,
        learning_rate=2e-4,
        decay="constant",
        betas=(0.5, 0.999),
        ema_half_life=1.0,  # shorter than a batch: no averaging, as then
    ),
)
NONSATURATING = replace(MINIMAX, game="nonsaturating")


def run(
    config: GANRunConfig,
    job: Job,
) -> State:
    """Train on Fashion-MNIST, or on one's own pictures.

    Raises:
        UserError: If classes are to be learned and there are not two of them, or the model to start
            from does not fit.
    """
    pictures = job.read(
        "fashion-mnist",
        size=config.model.size,
        channels=config.model.channels,
        classes=config.conditional,
    )
    if not config.conditional:
        pictures = replace(pictures, labels=None, classes=())
    with seeded(config.training.seed, "weights"):
        model = build(
            GAN, replace(config.model, classes=pictures.classes), job.start_from, called="gan or cgan"
        )
    sizes = {part: sum(p.numel() for p in net.parameters()) for part, net in model.named_children()}
    job.say(f"{len(pictures)} pictures; " + ", ".join(f"{n:,} weights in the {p}" for p, n in sizes.items()))
    return train(
        model,
        adversarial_objectives(config.game, gamma=config.gamma),
        picture_batches(pictures, seed=config.training.seed, flip=config.flip),
        config.training,
        out=job.out,
        resume=job.resume,
        provenance=job.provenance(_name(config), game=config.game, num_pictures=len(pictures)),
        preview=_preview,
        progress=job.progress,
    )


def _name(config: GANRunConfig) -> str:
    """The recipe, as `melies train` knows it."""
    if config.conditional:
        return "cgan"
    return "gan" if config.game == CONFIG.game else f"gan-{config.game}"


def _preview(model: Any, folder: Path, samples_seen: int) -> None:
    columns = len(model.classes) or PREVIEWS
    num = columns * PREVIEWS
    labels = torch.arange(num) % columns if model.classes else None
    device = next(model.parameters()).device
    pixels = model.sample(
        num, noise=noise_for(range(num)), labels=None if labels is None else labels.to(device)
    )
    write_drawn(folder, samples_seen, pixels, columns=columns, classes=model.classes)
