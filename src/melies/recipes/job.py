"""What every recipe is told besides its config: where from, where to, and whom to tell."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from melies.progress import Progress, silent


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of a recipe."""

    out: Path
    """Run folder for checkpoints, log and previews."""
    data: Path | None = None
    """Pictures: a folder, a zip or `hf:NAME`; None for the recipe's own set in the usual places."""
    start_from: str | None = None
    """Name or checkpoint of a model whose weights to start from."""
    resume: bool = False
    """Go on from the newest checkpoint in `out`."""
    progress: Progress = silent
    """Shows how far the run is."""
    say: Callable[[str], None] = print
    """Told what the user should know."""
