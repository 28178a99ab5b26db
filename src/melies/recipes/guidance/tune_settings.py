"""What is asked of a search for a schedule's parameters."""

from dataclasses import dataclass
from pathlib import Path

from melies.config import check_range
from melies.diffusion import GRIDS, METHODS, NEEDS, SAMPLERS
from melies.errors import UserError, choose

FAMILIES = ("clamp-linear", "pcs", "interval", "curve")
"""What can be tuned: the floor c, the power s, the ends of an interval, or a free curve."""

OBJECTIVES = ("fd", "kd")
"""Distances to real pictures that can be made small."""

LEAST, MOST = 20, 20_000

FREE = ("models", "steps", "batch")
"""Settings that may change when a search goes on: more models and numbers of steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """Everything that decides what a search finds."""

    models: tuple[str, ...] = ("emoji",)
    """Models, each tuned for itself: names, or paths of checkpoints."""
    family: str = "clamp-linear"
    """What is tuned: clamp-linear (c), pcs (s), interval (its ends in σ) or curve (its knots)."""
    knots: int = 5
    """Numbers of a free curve."""
    method: str = "plain"
    """The way of guiding: NAME or NAME:parameter."""
    scale: float = 4.0
    """The mean scale, which tuning does not change; of an interval the scale inside."""
    steps: tuple[int, ...] = (25,)
    """Numbers of steps, each tuned for itself."""
    sampler: str = "dpmpp"
    """How the noise is taken away."""
    grid: str = "karras"
    """How the noise levels are spaced."""
    objective: str = "fd"
    """What is made small: fd or kd."""
    budget: int = 200_000
    """Network evaluations for tuning one model at one number of steps."""
    tuning: int = 200
    """Pictures, one per seed, that values are tuned on."""
    test: int = 500
    """Pictures of other seeds and prompts that the tuned values are tested on."""
    seed: int = 0
    """The first seed, and that of the search."""
    data: Path | None = None
    """The real pictures of all models; none: those of each model's recipe."""
    judge: str | None = None
    """The classifier that says what a drawn picture shows; none: that of the model's set, if it is here."""
    features: str | None = None
    """Whose features the distances are taken in; none: the classifier of the set."""
    weights: str | None = None
    """A file or folder with the weights of the network that `features` names, or hf:OWNER/NAME."""
    batch: int = 50
    """Pictures drawn at once; bounds memory."""

    def __post_init__(self) -> None:
        """Check what can be checked without a model."""
        for name in ("models", "steps"):
            given = getattr(self, name)
            if not given or len(set(given)) < len(given):
                raise UserError("at least one is needed, each once", where=name)
        choose(self.family, FAMILIES, "family")
        choose(self.objective, OBJECTIVES, "objective")
        choose(self.sampler, SAMPLERS, "sampler")
        choose(self.grid, GRIDS, "grid")
        method = choose(self.method.partition(":")[0], list(METHODS), "guidance")
        if method in NEEDS or method == "plus-plus":
            raise UserError(
                f"schedules of the guidance {method!r} cannot be tuned here",
                remedy="take one that needs the model alone and is off at scale 1, such as plain",
            )
        check_range("scale", self.scale, low=1, high=1_000, low_open=True)
        for steps in self.steps:
            check_range("steps", steps, low=2, high=10_000)
        check_range("knots", self.knots, low=2, high=20)
        check_range("budget", self.budget, low=1, high=10**12)
        for name in ("tuning", "test"):
            check_range(name, getattr(self, name), low=LEAST, high=MOST)
        check_range("seed", self.seed, low=0, high=2**31)
        check_range("batch", self.batch, low=1, high=4_096)
