"""What every recipe is told besides its config: where from, where to, and whom to tell."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from melies.errors import UserError
from melies.machine import is_main_process
from melies.progress import Progress, silent


def print_once(message: str) -> None:
    """Print a line; of several processes of a run only the main one does."""
    if is_main_process():
        print(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of a recipe."""

    out: Path
    """Run folder for checkpoints, log and previews."""
    data: Path | None = None
    """Pictures: a folder, a zip or `hf:NAME`; None for the recipe's own set in the usual places."""
    pictures: Any = None
    """An `ImageSet` that is in memory already and takes the place of `data`."""
    start_from: str | None = None
    """Name or checkpoint of a model whose weights to start from."""
    resume: bool = False
    """Go on from the newest checkpoint in `out`."""
    allow_download: bool = False
    """Whether the weights of a text encoder may be fetched from the Hugging Face hub."""
    progress: Progress = silent
    """Shows how far the run is."""
    say: Callable[[str], None] = print_once
    """Told what the user should know."""

    def read(self, prepared: str, *, size: int, channels: int, classes: bool = True) -> Any:
        """The pictures to train on, as an `ImageSet`, checked as `melies.data.sets.read_set` does.

        Args:
            prepared: The prepared set to take where nothing is given.
            size: Side in pixels.
            channels: 1 or 3.
            classes: Whether at least two classes are needed.

        Raises:
            UserError: If there are none, or they are not what is needed.
        """
        from melies.data.places import find_or_make
        from melies.data.sets import check_classes, read_set

        if self.pictures is None:
            source = find_or_make(prepared, self.data, progress=self.progress)
            return read_set(
                source, size=size, channels=channels, classes=classes, progress=self.progress, say=self.say
            )
        if classes:
            check_classes(self.pictures, prepared)
        if tuple(self.pictures.pixels.shape[1:]) != (channels, size, size):
            raise ValueError(f"pictures of {tuple(self.pictures.pixels.shape[1:])} for {channels=}, {size=}")
        return self.pictures

    def brought(self, what: str) -> Path:
        """Where the pictures of a set lie that melies cannot make, and that is called `what`.

        Raises:
            UserError: If nothing is given, or it is not there.
        """
        from melies.data.places import find_data

        if self.data is None:
            raise UserError(f"{what} is not something that melies brings", remedy="give --data PATH")
        return find_data(what, self.data)

    def provenance(self, recipe: str, **facts: Any) -> dict[str, Any]:
        """What the checkpoints of this run say of where they come from: recipe, facts, starting model.

        A run that goes on keeps the starting model that it began with, whatever it is told now.

        Raises:
            UserError: If the model to start from, or the run to go on with, cannot be read.
        """
        from melies.checkpoint import newest_checkpoint, origin
        from melies.models import describe_model

        begun = newest_checkpoint(self.out) if self.resume else None
        if begun is not None:
            start = describe_model(begun).provenance.get("start_from")
        else:
            start = None if self.start_from is None else origin(self.start_from)
        return {"recipe": recipe, **facts, **({} if start is None else {"start_from": start})}
