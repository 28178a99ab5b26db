"""Tracks out of pictures made clean: gaps filled, jumps cut out, noise smoothed.

Courant et al. (2024), §3.1; thresholds are those of the published code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

from melies.config import check_positive, check_range
from melies.errors import UserError

Track = Float64[ndarray, "n 3"]

QUANTILE = 0.95
"""Of the speeds of a track: what is several times as fast is a jump."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningConfig:
    """How tracks are cleaned; the defaults are those published."""

    alpha: float = 3.0
    """A step is a jump from so many times the 95th percentile of the track's steps on."""
    least_frames: int = 11
    """Frames of the shortest part that is kept."""
    process_std: float = 0.5
    """Of the velocity's change in a frame; only its ratio to the next counts."""
    measurement_std: float = 1.0
    """Of the position that was measured; larger smooths more, 0 nothing."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("alpha", "least_frames", "process_std"):
            check_positive(name, getattr(self, name))
        check_range("measurement_std", self.measurement_std, low=0)


class Part(NamedTuple):
    """Frames that belong together."""

    start: int
    end: int
    """The frame after the last."""


def find_parts(tracks: Sequence[Track], config: CleaningConfig) -> list[Part]:
    """The runs of frames in which no track jumps, in order.

    A frame counts as jumped to if the step into it is one; the first as the second. Where a track has jumps
    in more than a twentieth of its steps, or stands still in nearly all, the percentile says nothing of them.

    Args:
        tracks: Of the same frames: the camera, and the character if there is one.
        config: What a jump is, and how short a part may be.
    """
    calm = np.ones(len(tracks[0]), dtype=bool)
    for track in tracks:
        if len(track) != len(calm):
            raise ValueError(f"tracks of {len(calm)} and {len(track)} frames")
        calm &= _calm(track, config.alpha)
    return [part for part in runs_of(calm) if part.end - part.start >= config.least_frames]


def runs_of(mask: Bool[ndarray, " n"]) -> list[Part]:
    """The runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [Part(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def fill_gaps(track: Track, *, longest: int = 25) -> tuple[Track, Bool[ndarray, " n"]]:
    """The track with short gaps (NaN) drawn straight, and which frames are known now.

    Args:
        track: NaN where nothing was seen.
        longest: Frames of the longest gap that is filled; those at either end never are.

    Raises:
        UserError: If nothing was seen in any frame.
    """
    seen = np.asarray(np.isfinite(track).all(axis=1))
    if not seen.any():
        raise UserError("the character is seen in no frame")
    frames = np.arange(len(track))
    filled = np.stack([np.interp(frames, frames[seen], column[seen]) for column in track.T], axis=1)
    known = seen.copy()
    for gap in runs_of(~seen):
        if gap.start > 0 and gap.end < len(track) and gap.end - gap.start <= longest:
            known[gap.start : gap.end] = True
    filled[~known] = np.nan
    return filled, known


def smooth_track(track: Track, config: CleaningConfig) -> Track:
    """The likeliest track behind noisy positions, if velocity wanders (Rauch et al. 1965).

    A Kalman filter of constant velocity forwards, and back again; each axis by itself. The velocity at first
    is unknown, where the published code takes it for none: a track of constant velocity stays as it is.

    Args:
        track: A position a frame.
        config: How much velocity changes and how much positions are off.
    """
    if len(track) < 3 or config.measurement_std == 0:
        return track.copy()
    q = (config.process_std / config.measurement_std) ** 2
    step = np.array([[1.0, 1.0], [0.0, 1.0]])
    wander = q * np.array([[1 / 3, 1 / 2], [1 / 2, 1.0]])
    # Two positions say as much as they can of a velocity of which nothing was known.
    states = [np.stack([track[1], track[1] - track[0]])]
    covariances = [np.array([[1.0, 1.0], [1.0, 2 + q / 3]])]
    predicted, forecasts = [], []
    for position in track[2:]:
        expected, forecast = step @ states[-1], step @ covariances[-1] @ step.T + wander
        gain = forecast[:, :1] / (forecast[0, 0] + 1)
        predicted.append(expected)
        forecasts.append(forecast)
        states.append(expected + gain * (position - expected[0]))
        covariances.append(forecast - gain * forecast[:1])
    smoothed = [states[-1]]
    for state, covariance, expected, forecast in zip(
        states[-2::-1], covariances[-2::-1], predicted[::-1], forecasts[::-1], strict=True
    ):
        back = covariance @ step.T @ np.linalg.inv(forecast)
        smoothed.append(state + back @ (smoothed[-1] - expected))
    position, velocity = smoothed[-1]
    first = track[0] + (position - velocity - track[0]) / (1 + q / 3)  # the same step back from the second
    return np.stack([first, *(one[0] for one in reversed(smoothed))])


def _calm(track: Track, alpha: float) -> Bool[ndarray, " n"]:
    speed = np.linalg.norm(np.diff(track, axis=0), axis=1)
    if not len(speed):
        return np.ones(len(track), dtype=bool)
    most = alpha * np.quantile(speed, QUANTILE)
    calm = (speed < most) | (speed == 0)
    return np.concatenate([calm[:1], calm])
