"""What is asked of a ladder: checked, kept with what it wrote, and compared when it goes on."""

from dataclasses import dataclass
from pathlib import Path

from melies.config import check_positive, check_range
from melies.errors import UserError, choose
from melies.recipes.ladder import OWN, RUNGS, SETS

LEAST, MOST = 50, 50_000
"""Pictures drawn for a measurement: fewer say nothing, more are held in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderSettings:
    """Everything that decides what a ladder trains and measures."""

    data: str = "digits"
    """A prepared set (digits, fashion-mnist, cifar10), or one's own: a folder or zip, a folder per class."""
    size: int | None = None
    """Side of the pictures, in pixels, for one's own; that which they all have, where left out."""
    budget: float | None = None
    """Minutes of training for each rung; what is usual for the set where left out."""
    rungs: tuple[str, ...] = ()
    """Rungs to climb; all where left out."""
    count: int | None = None
    """Pictures that each rung draws to be measured; what is usual for the set where left out."""
    features: str | None = None
    """Whose features pictures are compared in: a classifier, or one of efficientnet-lite0, inception,
    dinov2, clip and pixels; the classifier of the set where left out."""
    weights: str | None = None
    """A file or folder with the weights of the network that `features` names, or hf:OWNER/NAME."""
    scale: float = 1.5
    """Guidance scale of the ddpm's pictures."""
    steps: int = 25
    """Steps of its sampler."""
    seed: int = 0
    """Seed of weights, of training and of the first picture."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in self.rungs:
            choose(name, RUNGS, "rung")
        if len(set(self.rungs)) < len(self.rungs):
            raise UserError("a rung is named twice", where="rungs")
        if self.size is not None and self.data in SETS:
            raise UserError(f"the size of {self.data} is its own", remedy="leave out --size")
        if self.budget is not None:
            check_positive("budget", self.budget)
        if self.count is not None:
            check_range("count", self.count, low=LEAST, high=MOST)
        if self.weights is not None and self.features is None:
            raise UserError("weights are those of a network", remedy="name it with --features")
        check_range("scale", self.scale, low=0, high=1_000)
        check_range("steps", self.steps, low=1, high=10_000)
        check_range("seed", self.seed, low=0, high=2**31)

    @property
    def set_name(self) -> str:
        """What tables call the data; of a path its last part without the suffix."""
        return self.data if self.data in SETS else Path(self.data).stem or "pictures"

    @property
    def minutes(self) -> float:
        """Training of each rung."""
        return self.budget if self.budget is not None else SETS[self._usual].minutes

    @property
    def num_drawn(self) -> int:
        """Pictures drawn by each rung."""
        return self.count if self.count is not None else SETS[self._usual].count

    @property
    def chosen(self) -> tuple[str, ...]:
        """The rungs to climb, in the order of the tutorial."""
        return tuple(name for name in RUNGS if not self.rungs or name in self.rungs)

    @property
    def _usual(self) -> str:
        return self.data if self.data in SETS else OWN
