"""Log-mel spectrograms, of a whole sound or of one that comes in blocks, with the same result."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from melies.config import check_positive, check_range
from melies.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class MelConfig:
    """How sound is turned into frames of bands."""

    rate: int = 16_000
    """Samples a second."""
    window: int = 400
    """Samples under a periodic Hann window."""
    hop: int = 160
    """Samples from one frame to the next."""
    num_fft: int = 512
    """Samples that are transformed: the window, and zeros around it."""
    num_bands: int = 64
    low_hz: float = 60.0
    """Where the lowest band begins."""
    high_hz: float = 7800.0
    """Where the highest band ends."""
    scale: Literal["htk", "slaney"] = "htk"
    """Which formula of the mel."""
    area: bool = False
    """Whether bands have one area (Slaney's) instead of one height."""
    power: float = 2.0
    """Of the magnitude."""
    floor: float = 1e-10
    """Added before the logarithm."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("rate", "window", "hop", "num_fft", "num_bands", "power", "floor"):
            check_positive(name, getattr(self, name))
        check_range("low_hz", self.low_hz, low=0)
        if not self.low_hz < self.high_hz <= self.rate / 2:
            raise UserError(
                f"bands from {self.low_hz:g} to {self.high_hz:g} Hz",
                remedy=f"end above where they begin, and at most at {self.rate / 2:g} Hz",
            )
        if self.window > self.num_fft:
            raise UserError(f"window = {self.window} is longer than num_fft = {self.num_fft}")

    @property
    def frames_per_s(self) -> float:
        """Frames a second."""
        return self.rate / self.hop


def count_frames(samples: int, config: MelConfig) -> int:
    """How many frames lie wholly in so many samples."""
    return max(0, 1 + (samples - config.num_fft) // config.hop)


def log_mel(samples: Float[Tensor, "... n"], config: MelConfig) -> Float[Tensor, "... frames bands"]:
    """Natural logarithm of the power in each band.

    Frame i begins at sample i·hop; only what lies wholly in the sound is a frame, nothing is padded. So the
    frames of a sound that goes on are those of its blocks, each with the last num_fft − hop samples of the
    one before it.
    """
    frames = count_frames(samples.shape[-1], config)
    if not frames:
        return samples.new_zeros(*samples.shape[:-1], 0, config.num_bands)
    cut = samples.unfold(-1, config.num_fft, config.hop)
    around = config.num_fft - config.window
    window = torch.hann_window(config.window, periodic=True, dtype=samples.dtype, device=samples.device)
    window = torch.nn.functional.pad(window, (around // 2, around - around // 2))
    spectrum = torch.fft.rfft(cut * window).abs() ** config.power
    return torch.log(spectrum @ mel_bands(config).to(samples) + config.floor)


def mel_bands(config: MelConfig) -> Float[Tensor, "bins bands"]:
    """Triangles over the bins of the transform, float64."""
    hz_of_bin = torch.linspace(0, config.rate / 2, config.num_fft // 2 + 1, dtype=torch.float64)
    low, high = mel_of_hz(config.low_hz, config.scale), mel_of_hz(config.high_hz, config.scale)
    corners = torch.tensor(
        [
            hz_of_mel(low + (high - low) * k / (config.num_bands + 1), config.scale)
            for k in range(config.num_bands + 2)
        ],
        dtype=torch.float64,
    )
    begin, middle, end = corners[:-2], corners[1:-1], corners[2:]
    up = (hz_of_bin[:, None] - begin) / (middle - begin)
    down = (end - hz_of_bin[:, None]) / (end - middle)
    bands = torch.minimum(up, down).clamp(min=0)
    return bands * (2 / (end - begin)) if config.area else bands


_KNEE_HZ, _KNEE_MEL, _STEP = 1000.0, 15.0, math.log(6.4) / 27
"""Slaney's mel: 200/3 Hz each up to the knee, then 27 to every factor of 6.4."""


def mel_of_hz(hz: float, scale: str) -> float:
    """The mel of a frequency: O'Shaughnessy's formula (HTK), or that of Slaney's Auditory Toolbox."""
    if scale == "htk":
        return 2595 * math.log10(1 + hz / 700)
    return _KNEE_MEL + math.log(hz / _KNEE_HZ) / _STEP if hz >= _KNEE_HZ else hz * 3 / 200


def hz_of_mel(mel: float, scale: str) -> float:
    """The frequency of a mel."""
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    return _KNEE_HZ * math.exp((mel - _KNEE_MEL) * _STEP) if mel >= _KNEE_MEL else mel * 200 / 3
