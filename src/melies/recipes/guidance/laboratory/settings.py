"""What is asked of the laboratory."""

from dataclasses import dataclass

from melies.config import check_range
from melies.diffusion import METHODS, SCHEDULES
from melies.errors import UserError, choose

THIRDS = ("early", "middle", "late")
"""Guidance in one third of the steps alone, by the condition in the others."""

NOT_HERE = {
    "perturbed": "it edits attention, and a mixture of Gaussians has none",
    "smoothed": "it edits attention, and a mixture of Gaussians has none",
    "frequency": "it splits pictures into bands of frequency, and a point has none",
}
"""Ways of guiding that mean nothing without a picture or a network, and why."""

NAMES = ("line", "overlapping", "separated", "unequal", "anisotropic")
"""Of the mixtures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaboratorySettings:
    """Which mixtures are drawn from, in which ways, and how finely errors are told."""

    mixtures: tuple[str, ...] = NAMES
    """Where the truth is known."""
    methods: tuple[str, ...] = tuple(name for name in METHODS if name not in NOT_HERE)
    """Ways of guiding; all of them are compared with plain."""
    schedules: tuple[str, ...] = tuple(SCHEDULES)
    """How guidance changes over the run, NAME or NAME:parameter; all are compared with static."""
    scales: tuple[float, ...] = (1.1, 1.25, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0)
    """Mean guidance scales over the run, above 1; the best of them is each schedule's own, and what lies
    between two is interpolated."""
    brief: bool = False
    """Draw the ways other than plain at a static scale alone."""
    tilt: float = 3.0
    """The scale s of the density p(x)·p(y|x)^s that guidance is to draw from, one of the scales."""
    steps: int = 32
    """Steps of the sampler."""
    samples: int = 1000
    """Samples of each cell; all cells of a mixture start from the same noise."""
    resamples: int = 200
    """Bootstrap resamples behind each interval."""
    seed: int = 0
    """Of the noise and the resamples."""

    def __post_init__(self) -> None:
        """Check names and ranges."""
        for name in self.mixtures:
            choose(name, NAMES, "mixture")
        for name in self.methods:
            choose(name, METHODS, "guidance")
            if name in NOT_HERE:
                raise UserError(f"the laboratory cannot guide by {name!r}", remedy=NOT_HERE[name])
        for text in self.schedules:
            choose(text.partition(":")[0], SCHEDULES, "schedule")
        for scale in self.scales:
            check_range("scales", scale, low=1.0, low_open=True)
        if self.tilt not in self.scales:
            raise UserError(
                f"the tilt {self.tilt:g} is none of the scales, so that none has the same area",
                remedy=f"add {self.tilt:g} to --scales",
            )
        for given, name in ((self.mixtures, "mixtures"), (self.methods, "methods")):
            if not given:
                raise UserError(f"no {name} are given")
        if "plain" not in self.methods or "static" not in self.schedules:
            raise UserError("plain static guidance is what others are compared with", remedy="leave it in")
        check_range("steps", self.steps, low=6, high=1000)
        check_range("samples", self.samples, low=100, high=10_000)
        check_range("resamples", self.resamples, low=20, high=10_000)
