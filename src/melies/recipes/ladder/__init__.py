"""The ladder: every family of generative models on the same pictures, for the same minutes, on one yardstick.

The tables here are strings and numbers, so that the command can list them without loading any model.
"""

from typing import NamedTuple

RUNGS = {
    "autoencoder": "encoder and decoder; it draws from a Gaussian fitted to its latents",
    "vae": "variational autoencoder",
    "cvae": "variational autoencoder that is told the class",
    "vqvae": "quantised autoencoder with a prior over its codes, by class",
    "gan-minimax": "GAN by the minimax game of 2014",
    "gan": "GAN by a relativistic game with gradient penalties",
    "gan-classes": "the same, told the class",
    "ddpm": "diffusion, told the class",
}
"""Rung → what it is, in the order of the tutorial."""


class LadderSet(NamedTuple):
    """A prepared set, and what is usual for it."""

    minutes: float
    """Training of each rung, on two processor cores."""
    count: int
    """Pictures that each rung draws to be measured."""


SETS = {
    "digits": LadderSet(0.5, 500),
    "fashion-mnist": LadderSet(10.0, 2_000),
    "cifar10": LadderSet(60.0, 2_000),
}
"""Set → what is usual for it; of anybody's own pictures that of fashion-mnist."""

OWN = "fashion-mnist"
"""The set whose usual values hold for anybody's own pictures."""

BETAS = (0.25, 1.0, 4.0, 16.0)
"""Weights of the KL term in the sweep that shows posterior collapse."""

STEPS = (2, 4, 8, 16, 32)
"""Steps of the sampler in the plot of quality against steps."""
