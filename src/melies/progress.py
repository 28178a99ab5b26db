"""Progress with the time left, on the error stream, so that standard output stays clean."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Track(Protocol):
    """One running bar."""

    def advance(self, amount: float = 1.0, **fields: object) -> None:
        """Move on by `amount` units; `fields` are shown beside the bar."""


@runtime_checkable
class Progress(Protocol):
    """Opens bars: `with progress("drawing", total=25, unit="step") as track: track.advance()`."""

    def __call__(
        self, title: str, *, total: float, unit: str = "step", done: float = 0.0
    ) -> AbstractContextManager[Track]: ...


class _Silent:
    def advance(self, amount: float = 1.0, **fields: object) -> None:
        """Show nothing."""


@contextmanager
def silent(title: str, *, total: float, unit: str = "step", done: float = 0.0) -> Iterator[Track]:
    """Progress for libraries and `--quiet`: nothing is shown."""
    yield _Silent()


@contextmanager
def bar(title: str, *, total: float, unit: str = "step", done: float = 0.0) -> Iterator[Track]:
    """A rich bar on the error stream: title, share done, speed, time spent and time left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Rich
    from rich.table import Column

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        # The note takes what room is left: in a narrow window it is cut, not the bar.
        TextColumn("{task.fields[note]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
    )
    with Rich(*columns, console=Console(stderr=True), expand=True) as rich:
        task = rich.add_task(title, total=total, completed=int(done), note="")

        class _Bar:
            def advance(self, amount: float = 1.0, **fields: object) -> None:
                note = "  ".join(f"{name} {_short(value)}" for name, value in fields.items())
                shown: dict[str, Any] = {"note": note} if fields else {}  # else the last note stays
                rich.update(task, advance=amount, **shown)

        yield _Bar()


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
