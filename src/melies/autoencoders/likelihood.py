"""Likelihoods of pictures, p(x|z): log-densities per picture, in nats, of what a decoder puts out.

Pictures are float (b, c, h, w) in [−1, 1]; where a likelihood knows black and white only, −1 and 1.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from melies.gaussian import log_density, log_level_mass
from melies.rng import generator_for
from melies.transform import PixelRange

Likelihood = Literal["bernoulli", "gaussian", "discretized"]
"""What a pixel is given its latent: black or white; a real number; one of 256 levels."""

SIGMA_MIN = 1 / 255
"""Least standard deviation of a pixel, half a level: below it every level is either certain or impossible."""

Pictures = Float[Tensor, "b c h w"]


def bernoulli(pixels: Pictures, logits: Pictures) -> Float[Tensor, " b"]:
    """Log-probability of black and white pictures, independent pixels.

    Of grey pictures it is the mean over all black and white ones whose pixels are white with the
    grey level's probability: a loss in wide use, but no likelihood of the picture.
    """
    return -F.binary_cross_entropy_with_logits(logits, (pixels + 1) / 2, reduction="none").flatten(1).sum(1)


def gaussian(pixels: Pictures, mean: Pictures, sigma: Float[Tensor, ""]) -> Float[Tensor, " b"]:
    """Log-density of pixels N(mean, σ²), on the scale of −1 to 1; it has no upper limit on 8-bit pictures."""
    return log_density(pixels, mean, sigma).flatten(1).sum(1)


def discretized(pixels: Pictures, mean: Pictures, sigma: Float[Tensor, ""]) -> Float[Tensor, " b"]:
    """Log-probability of the 8-bit levels under N(mean, σ²); at most 0, and so comparable in bits/dim."""
    return log_level_mass(pixels, mean, sigma).flatten(1).sum(1)


def binarize(pixels: Pictures, generator: torch.Generator) -> Pictures:
    """Black and white pictures, −1 and 1, drawn with the grey levels as probabilities of white.

    Drawn anew for every batch it is dynamic binarisation; see `binarize_once` for the static one.

    Source: Salakhutdinov & Murray (2008).
    """
    drawn = torch.rand(pixels.shape, generator=generator).to(pixels)
    return torch.where(drawn < (pixels + 1) / 2, 1.0, -1.0).to(pixels)


def binarize_once(pixels: UInt8[Tensor, "n c h w"], *, seed: int) -> UInt8[Tensor, "n c h w"]:
    """A whole set of pictures in black and white, 0 and 255, the same whenever it is asked for."""
    generator, found = generator_for(seed, "binarize"), torch.empty_like(pixels)
    for some, out in zip(pixels.split(1024), found.split(1024), strict=True):
        out.copy_(PixelRange().inverse(binarize(PixelRange().forward(some), generator)))
    return found
