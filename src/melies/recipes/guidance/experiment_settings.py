"""What is asked of the experiments with guidance."""

from dataclasses import dataclass
from pathlib import Path

from melies.config import check_range
from melies.diffusion import SAMPLERS
from melies.errors import UserError, choose
from melies.recipes.guidance import EXPERIMENTS
from melies.recipes.sweep.settings import LEAST, MOST


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentSettings:
    """Which experiments, on what."""

    model: str = "emoji"
    """The model: its name, or the path of a checkpoint."""
    only: tuple[str, ...] = tuple(EXPERIMENTS)
    """Which experiments."""
    classifier: str | None = None
    """Classifier of noisy pictures, by name or path; without it nothing is said of classifier guidance."""
    scales: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
    """Mean scales of the schedules and of classifier guidance, from off to far too strong."""
    seeds: int = 500
    """Pictures of each cell, one per seed."""
    seed: int = 0
    """The first seed."""
    steps: int = 25
    """Steps of the sampler."""
    sampler: str = "ddim"
    """How the noise is taken away; that of the paper."""
    data: Path | None = None
    """The real pictures; none: where `melies data prepare` puts those of the model's recipe."""
    judge: str | None = None
    """The classifier that says what a drawn picture shows; none: that of the model's set, if it is here."""
    features: str | None = None
    """Whose features the distances are taken in; none: the classifier of the set."""
    weights: str | None = None
    """A file or folder with the weights of the network that `features` names, or hf:OWNER/NAME."""
    batch: int = 50
    """Pictures drawn at once; bounds memory."""

    def __post_init__(self) -> None:
        """Check the names and ranges."""
        if not self.only or len(set(self.only)) < len(self.only):
            raise UserError("at least one experiment is needed, each once", where="only")
        for name in self.only:
            choose(name, EXPERIMENTS, "experiment")
        choose(self.sampler, SAMPLERS, "sampler")
        check_range("seeds", self.seeds, low=LEAST, high=MOST)
        check_range("steps", self.steps, low=2, high=10_000)
        check_range("seed", self.seed, low=0, high=2**53)
        check_range("batch", self.batch, low=1, high=4_096)
