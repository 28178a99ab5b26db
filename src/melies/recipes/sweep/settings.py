"""What is asked of a sweep: checked, and told apart from every other by a fingerprint."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from melies.config import check_range, to_json
from melies.diffusion import GRIDS, METHODS, SAMPLERS, SCHEDULES
from melies.errors import UserError, choose

LEAST, MOST = 20, 50_000
"""Pictures of a cell: fewer measure nothing, more are held in memory at once."""

WHOLE = "all"
"""The interval that is the whole run."""

FREE = ("methods", "schedules", "scales", "steps", "samplers", "intervals", "removals", "batch")
"""Settings that may change when a sweep goes on: which cells there are, and how many pictures at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSettings:
    """Everything that decides what a sweep draws and measures."""

    model: str = "emoji"
    """The model: its name, or the path of a checkpoint."""
    methods: tuple[str, ...] = ("plain",)
    """Ways of guiding: NAME or NAME:parameter."""
    schedules: tuple[str, ...] = ("static",)
    """How guidance changes over the run, at the same mean: NAME or NAME:parameter."""
    scales: tuple[float, ...] = (1.0, 2.0, 4.0)
    """Guidance scales; 1 is off."""
    steps: tuple[int, ...] = (25,)
    """Steps of the sampler."""
    samplers: tuple[str, ...] = ("dpmpp",)
    """How the noise is taken away."""
    intervals: tuple[str, ...] = (WHOLE,)
    """Where guidance is on, in σ: LOW:HIGH, or all."""
    removals: tuple[str, ...] = ()
    """Besides, parts of the run without guidance, in t/T, which falls from 1 to 0: LOW:HIGH."""
    seeds: int = 500
    """Pictures of each cell, one per seed; every cell has the same."""
    seed: int = 0
    """The first seed; the next picture has seed + 1."""
    grid: str = "karras"
    """How the noise levels are spaced."""
    data: Path | None = None
    """The real pictures; none: where `melies data prepare` puts those of the model's recipe."""
    judge: str | None = None
    """The classifier that says what a drawn picture shows; none: that of the model's set, if it is here."""
    features: str | None = None
    """Whose features the distances are taken in, as for `melies evaluate`; none: the set's classifier."""
    weights: str | None = None
    """A file or folder with the weights of the network that `features` names, or hf:OWNER/NAME."""
    clip: str | None = None
    """A folder with CLIP, or hf:OWNER/NAME, for the CLIP score; none: the usual one where it is here and the
    model is asked in words."""
    negative: str = ""
    """What the pictures should not be, for methods that need it."""
    weak: str | None = None
    """Weaker model of the same pictures, for autoguidance."""
    classifier: str | None = None
    """Classifier of noisy pictures, by name or path, for classifier guidance."""
    batch: int = 50
    """Pictures drawn at once; bounds memory."""

    def __post_init__(self) -> None:
        """Check what can be checked without a model.

        Raises:
            UserError: Naming the first field that cannot be.
        """
        for name in ("methods", "schedules", "scales", "steps", "samplers", "intervals"):
            given = getattr(self, name)
            if not given:
                raise UserError("at least one is needed", where=name)
        for name in ("methods", "schedules", "scales", "steps", "samplers", "intervals", "removals"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise UserError("one is named twice", where=name)
        for method in self.methods:
            choose(method.partition(":")[0], METHODS, "guidance")
        for schedule in self.schedules:
            choose(schedule.partition(":")[0], SCHEDULES, "schedule")
        for sampler in self.samplers:
            choose(sampler, SAMPLERS, "sampler")
        choose(self.grid, GRIDS, "grid")
        for scale in self.scales:
            check_range("scales", scale, low=0, high=1_000)
        for steps in self.steps:
            check_range("steps", steps, low=1, high=10_000)
        for text in self.intervals:
            read_part(text, "intervals")
        for text in self.removals:
            read_part(text, "removals")
        check_range("seeds", self.seeds, low=LEAST, high=MOST)
        check_range("seed", self.seed, low=0, high=2**53)
        check_range("batch", self.batch, low=1, high=4_096)


def read_part(text: str, where: str) -> tuple[float, float] | None:
    """The two numbers of `LOW:HIGH`; None for `all`.

    Raises:
        UserError: If it is neither, or its ends are swapped.
    """
    if text == WHOLE and where != "removals":
        return None
    low, _, high = text.partition(":")
    try:
        ends = float(low), float(high)
    except ValueError:
        raise UserError(f"{text!r} is no interval", where=where, remedy="give LOW:HIGH") from None
    if not ends[0] < ends[1]:
        raise UserError(
            f"the interval {text} has its ends swapped or is empty", where=where, remedy=f"give {high}:{low}"
        )
    check_range(where, ends[0], low=0)
    return ends


def fingerprint(settings: Any, instruments: Mapping[str, str], free: Sequence[str] = FREE) -> str:
    """Twelve hexadecimal digits of all that changes a number: the settings, and the weights behind names.

    Args:
        settings: A config.
        instruments: What the names in it stand for, with digests.
        free: Settings that change none.
    """
    kept = {name: value for name, value in to_json(settings).items() if name not in free}
    text = json.dumps({"settings": kept, "instruments": dict(instruments)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
