"""PSNR and SSIM: how near a picture is to the one that it should be."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from melies.errors import UserError
from melies.interfaces import Metric
from melies.metrics.measure import measure
from melies.metrics.pixels import Pictures, as_unit_range, picture_blocks

PSNR_MAX = 100.0
"""Decibels that the mean of a set counts for equal pictures; 8-bit pictures that differ stay below."""

_CACHED = 2**15
"""Numbers worked through at once: what a core's cache holds with its intermediate results."""


def psnr(pictures: Pictures, reference: Pictures) -> Float[Tensor, " n"]:
    """Peak signal-to-noise ratio of each picture, 10·log₁₀(peak²/mean squared error), in dB.

    The peak is the whole range, black to white. Infinite for equal pictures.

    Raises:
        ValueError: If the shapes differ.
        UserError: If there are no pictures, or one is not finite.
    """
    found = [-10 * (a - b).square().flatten(1).mean(1).log10() for a, b in _pairs(pictures, reference)]
    return torch.cat(found)


def ssim(pictures: Pictures, reference: Pictures, *, sigma: float = 1.5) -> Float[Tensor, " n"]:
    """Structural similarity of each picture, at most 1; the mean over channels and pixels.

    The window around a pixel is Gaussian, 2·⌊3.5σ + ½⌋ + 1 pixels wide: 11 for σ = 1.5. Beyond its
    border a picture is reflected, so that all of a small one counts; the authors' own program leaves
    the border out, which moves a number by some thousandths.

    Args:
        pictures: What is judged.
        reference: What each should be.
        sigma: Standard deviation of the window, in pixels.

    Raises:
        ValueError: If the shapes differ.
        UserError: If there are no pictures, or one is not finite.

    Source: Wang et al. (2004), eq. 13–17, K₁ = 0.01, K₂ = 0.03.
    """
    window = _window(sigma, min(pictures.shape[2:]))
    return torch.cat([_ssim(a, b, window) for a, b in _pairs(pictures, reference)])


def measure_similarity(
    pictures: Pictures, reference: Pictures, *, num_resamples: int = 1000, seed: int = 0
) -> tuple[Metric, Metric]:
    """Mean PSNR and mean SSIM over pictures, with bootstrap intervals; higher is better.

    Raises:
        ValueError: If the shapes differ.
        UserError: If there are no pictures, or one is not finite.
    """
    decibels = psnr(pictures, reference).clamp(max=PSNR_MAX).cpu()
    rest = {"higher_is_better": True, "num_resamples": num_resamples, "seed": seed}
    return (
        measure("psnr", torch.mean, decibels, unit="dB", **rest),
        measure("ssim", torch.mean, ssim(pictures, reference).cpu(), unit="", **rest),
    )


def _pairs(pictures: Pictures, reference: Pictures) -> Iterator[tuple[Tensor, Tensor]]:
    if pictures.shape != reference.shape:
        raise ValueError(
            f"pictures are {tuple(pictures.shape)} and reference pictures are {tuple(reference.shape)}; "
            "each picture needs its counterpart"
        )
    for rows in picture_blocks(pictures, most=_CACHED):
        yield as_unit_range(pictures[rows]), as_unit_range(reference[rows], "reference pictures")


def _ssim(a: Tensor, b: Tensor, window: list[float]) -> Float[Tensor, " n"]:
    a, b = (F.pad(x, (len(window) // 2,) * 4, mode="reflect") for x in (a, b))
    mean_a, mean_b, of_aa, of_bb, of_ab = _blur(torch.cat([a, b, a * a, b * b, a * b]), window).chunk(5)
    squares, product = mean_a * mean_a + mean_b * mean_b, mean_a * mean_b
    luminance = (2 * product + 0.01**2) / (squares + 0.01**2)
    structure = (2 * (of_ab - product) + 0.03**2) / (of_aa + of_bb - squares + 0.03**2)
    return (luminance * structure).flatten(1).mean(1)


def _blur(x: Float[Tensor, "n c h w"], window: list[float]) -> Tensor:
    """Windowed means, along the columns and then the rows, where the whole window fits."""
    for axis in (3, 2):
        size = x.shape[axis] - len(window) + 1
        total = x.narrow(axis, 0, size) * window[0]
        for place, weight in enumerate(window[1:], start=1):
            total.add_(x.narrow(axis, place, size), alpha=weight)
        x = total
    return x


def _window(sigma: float, smallest_side: int) -> list[float]:
    if sigma <= 0:
        raise UserError(f"a window of sigma = {sigma} px is none", where="ssim")
    reach = min(int(3.5 * sigma + 0.5), smallest_side - 1)  # as far as can be reflected
    places = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (places / sigma).square())
    return (weights / weights.sum()).tolist()
