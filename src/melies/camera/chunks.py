"""Reconstructed shots into samples of E.T.: joined, cleaned, cut, told from where their character first is.

And the other way round: what a reconstruction would make of a shot that is known, to see how much of it the
way back brings to light.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from melies.camera.align import Window, join_windows
from melies.camera.clean import CleaningConfig, fill_gaps, find_parts, runs_of, smooth_track
from melies.camera.synthesis import Shot
from melies.config import check_positive, check_range
from melies.errors import UserError

MOST_FRAMES = 300
"""Of a sample of E.T."""


class Chunk(NamedTuple):
    """Frames of a shot that make a sample."""

    start: int
    """The first frame, of the shot."""
    world_from_camera: Float64[ndarray, "n 4 4"]
    """Metres; the origin is where the character is at the first frame."""
    character: Float64[ndarray, "n 3"]
    origin: Float64[ndarray, "3"]
    """Where that is in the world of the shot."""


def find_chunks(windows: Sequence[Window], config: CleaningConfig) -> list[Chunk]:
    """The samples in a shot.

    Longer parts are cut into pieces of 300 frames, where the published code leaves off after the first.

    Raises:
        UserError: If the windows cannot be joined, have no character, or it is seen in no frame.
    """
    joined = join_windows(windows)
    if joined.character is None:
        raise UserError("no character is seen beside the camera")
    character, known = fill_gaps(joined.character)
    poses, found = joined.world_from_camera, []
    for start, end in runs_of(known):
        tracks = [poses[start:end, :3, 3], character[start:end]]
        for part in find_parts(tracks, config):
            camera, beside = (smooth_track(track[part.start : part.end], config) for track in tracks)
            moved = poses[start + part.start : start + part.end].copy()
            moved[:, :3, 3] = camera
            found += _cut(start + part.start, moved, beside, config)
    return found


def _cut(start: int, poses: ndarray, character: ndarray, config: CleaningConfig) -> Iterator[Chunk]:
    for first in range(0, len(poses), MOST_FRAMES):
        part = slice(first, first + MOST_FRAMES)
        if len(poses[part]) >= config.least_frames:
            origin = character[first]
            moved = poses[part].copy()
            moved[:, :3, 3] -= origin
            yield Chunk(start + first, moved, character[part] - origin, origin)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoilingConfig:
    """What is wrong with a reconstruction, in the way of SLAHMR's."""

    window: int = 100
    """Frames that are reconstructed at once."""
    overlap: int = 10
    """Frames that two windows share."""
    scale: float = 0.2
    """Standard deviation of the logarithm of a window's scale beside the one before."""
    shift: float = 1.0
    """Standard deviation of a window's origin, metres."""
    jitter: float = 0.002
    """Standard deviation of noise in each position of the camera, metres."""
    character_jitter: float = 0.01
    """The same of the character."""
    jumps: float = 0.004
    """Share of frames in which a position is far off."""
    jump: float = 1.0
    """How far, metres."""
    gaps: float = 0.01
    """Chance at each frame that the character is lost for a while."""
    longest_gap: int = 12
    """Most frames of that."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_positive("window", self.window)
        check_range("overlap", self.overlap, low=1, high=self.window - 1)
        for name in ("scale", "shift", "jitter", "character_jitter", "jumps", "jump", "gaps", "longest_gap"):
            check_range(name, getattr(self, name), low=0)


CLEAN = SpoilingConfig(scale=0, shift=0, jitter=0, character_jitter=0, jumps=0, gaps=0)
"""Nothing is wrong."""


def spoil_shot(shot: Shot, config: SpoilingConfig, rng: np.random.Generator) -> list[Window]:
    """What a reconstruction makes of a shot: windows of other scales and origins, noise, jumps, gaps.

    Poses go through half precision, as the files of E.T. did.
    """
    poses, n = shot.world_from_camera.copy(), len(shot.world_from_camera)
    beside = shot.character - poses[:, :3, 3]
    poses[:, :3, 3] += rng.normal(0, 1, (n, 3)) * config.jitter
    beside = beside + rng.normal(0, 1, (n, 3)) * config.character_jitter
    for track in (poses[:, :3, 3], beside):
        off = rng.random(n) < config.jumps
        track[off] += rng.normal(0, 1, (int(off.sum()), 3)) * config.jump
    for start in np.flatnonzero(rng.random(n) < config.gaps):
        beside[start : start + int(rng.integers(1, config.longest_gap + 1))] = np.nan
    windows = []
    step = config.window - config.overlap
    for index, start in enumerate(range(0, max(n - config.overlap, 1), step)):
        part = poses[start : start + config.window].copy()
        scale = np.exp(rng.normal(0, 1) * config.scale) if index else 1.0
        part[:, :3, 3] = (part[:, :3, 3] + rng.normal(0, 1, 3) * config.shift) / scale
        if config != CLEAN:
            part[:, :3] = part[:, :3].astype(np.float16)
        windows.append(Window(start, part, part[:, :3, 3] + beside[start : start + config.window]))
    return windows
