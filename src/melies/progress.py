"""Progress with the time left, on the error stream, so that standard output stays clean."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, runtime_checkable

LINE_EVERY_S = 30.0
"""Seconds between two lines where there is no terminal."""


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
                shown: dict[str, Any] = {"note": _note(fields)} if fields else {}  # else the last note stays
                rich.update(task, advance=amount, **shown)

        yield _Bar()


@contextmanager
def lines(title: str, *, total: float, unit: str = "step", done: float = 0.0) -> Iterator[Track]:
    """For a log: a line every `LINE_EVERY_S` seconds, and one at the end of what took over a second."""
    began = time.monotonic()

    class _Lines:
        said_at, done_now, note = began, done, ""

        def advance(self, amount: float = 1.0, **fields: object) -> None:
            self.done_now += amount
            self.note = _note(fields) or self.note
            now = time.monotonic()
            if now - self.said_at >= LINE_EVERY_S and self.done_now < total:
                self.said_at = now
                speed = (self.done_now - done) / (now - began)
                left = f"{speed:.3g}/s, {duration((total - self.done_now) / speed)} left" if speed > 0 else ""
                self.say(f"{self.done_now:,.0f} of {total:,.0f} {unit}", left, self.note)

        def say(self, *parts: str) -> None:
            print(f"{title}: {', '.join(filter(None, parts))}", file=sys.stderr, flush=True)

    track = _Lines()
    yield track
    if (spent := time.monotonic() - began) > 1:
        track.say(f"{track.done_now:,.0f} of {total:,.0f} {unit} after {duration(spent)}", track.note)


def duration(seconds: float) -> str:
    """A time as a person would say it: `40 s`, `26.5 min`, `1.4 h`."""
    if seconds < 59.5:  # what would print as 60
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3597 else f"{seconds / 3600:.1f} h"


def _note(fields: Mapping[str, object]) -> str:
    return "  ".join(f"{name} {_short(value)}" for name, value in fields.items())


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
