"""Power by spatial frequency: what is blurred has lost the high ones.

A sharp and a blurred picture of one scene agree at low frequencies; beyond those a network that
averages over what it is unsure of draws less than there is in real pictures.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Num
from torch import Tensor

from melies.errors import UserError
from melies.interfaces import Metric
from melies.metrics.measure import measure, measure_floor

HIGH = 0.25
"""Cycles per pixel from which on a frequency is high: half of the highest that a row of pixels holds."""

_BLOCK = 1024


class Spectrum(NamedTuple):
    """Power of n pictures over rings of frequency, averaged over channels."""

    frequencies: Float[Tensor, " r"]
    """Cycles per pixel, from 0 to 0.5; the corners beyond belong to the last ring."""
    power: Float[Tensor, "n r"]
    """Mean power in each ring, per pixel, float64."""


def radial_spectrum(pixels: Num[Tensor, "n c h w"]) -> Spectrum:
    """Power of every picture in rings of equal frequency, one cycle per picture wide.

    Args:
        pixels: Square pictures, in any unit; power is in its square.

    Raises:
        UserError: If there are no pictures, or they are not square.
    """
    rings = _rings(pixels)
    num = int(rings.max()) + 1
    counts = torch.bincount(rings.flatten(), minlength=num).double()
    summed = torch.zeros(len(pixels), num, dtype=torch.float64, device=pixels.device)
    for rows, block in zip(summed.split(_BLOCK), pixels.split(_BLOCK), strict=True):
        rows.index_add_(1, rings.flatten(), _power(block).flatten(1))
    return Spectrum(torch.arange(num, dtype=torch.float64) / pixels.shape[-1], summed / counts)


def high_power(pixels: Num[Tensor, "n c h w"], *, least: float = HIGH) -> Float[Tensor, " n"]:
    """Power of each picture at `least` cycles per pixel and above, per pixel, float64.

    Raises:
        UserError: If there are no pictures, or they are not square.
    """
    frequency = _frequency(pixels)
    return torch.cat([(_power(block) * (frequency >= least)).sum((1, 2)) for block in pixels.split(_BLOCK)])


def power_ratio(drawn: Float[Tensor, "n *_"], real: Float[Tensor, "m *_"]) -> float:
    """Mean power of drawn pictures over that of real ones."""
    return float(drawn.mean() / real.mean())


def measure_sharpness(
    power: Float[Tensor, " n"],
    real_power: Float[Tensor, " m"],
    *,
    num_resamples: int = 1000,
    num_splits: int = 20,
    seed: int = 0,
) -> tuple[Metric, Metric]:
    """`power_ratio` with a bootstrap interval, and its floor.

    Below the floor's interval pictures are blurred. It is best at 1, higher is better up to there:
    beyond they are noisier than real ones, not sharper.

    Args:
        power: High power of each drawn picture, see `high_power`.
        real_power: Of each real one of the same size.
        num_resamples: Bootstrap replicates.
        num_splits: Random splits of the real pictures for the floor.
        seed: Of the resampling.

    Raises:
        UserError: If the real pictures have no power there, or are fewer than four.
    """
    if not float(real_power.mean()) > 0:
        raise UserError("the real pictures have no detail to compare with", where="spectrum")
    found = measure(
        "high-frequency power",
        power_ratio,
        power,
        real_power,
        unit="ratio",
        higher_is_better=True,
        num_resamples=num_resamples,
        seed=seed,
    )
    return found, measure_floor(found, power_ratio, real_power[:, None], num_splits=num_splits, seed=seed)


def _power(pixels: Tensor) -> Float[Tensor, "n h w"]:
    """|DFT|² about each picture's mean, averaged over channels; all of it sums to the variance."""
    x = pixels.double()
    found = torch.fft.fft2(x - x.mean((2, 3), keepdim=True), norm="forward")
    return found.abs().square().mean(1)


def _frequency(pixels: Tensor) -> Float[Tensor, "h w"]:
    """Cycles per pixel of every coefficient."""
    if not len(pixels):
        raise UserError("there are no pictures to take a spectrum of")
    if pixels.shape[-1] != pixels.shape[-2]:
        raise UserError(f"pictures of {pixels.shape[-2]}×{pixels.shape[-1]} are not square")
    along = torch.fft.fftfreq(pixels.shape[-1], dtype=torch.float64)
    return torch.hypot(along[:, None], along)


def _rings(pixels: Tensor) -> Tensor:
    size = pixels.shape[-1]
    return (_frequency(pixels) * size).round().long().clamp(max=size // 2)
