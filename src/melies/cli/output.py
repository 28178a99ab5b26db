"""What a verb says: progress and messages on the error stream, one answer on standard output."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from melies import progress
from melies.cli.read import bare_arg
from melies.config import to_json
from melies.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """How much is said; part of every verb's arguments."""

    quiet: Annotated[bool, bare_arg()] = False
    """Say nothing but errors and what was asked for."""
    json: Annotated[bool, bare_arg()] = False
    """Print one JSON object on standard output, and nothing else there."""

    @property
    def progress(self) -> Progress:
        """Bars on a terminal, a line now and then in a log, or nothing."""
        if self.quiet:
            return progress.silent
        return progress.bar if sys.stderr.isatty() else progress.lines

    def say(self, message: str) -> None:
        """One line on the error stream, unless quiet."""
        if not self.quiet:
            print(message, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a verb found or did."""

    data: Mapping[str, Any] | None
    """The object printed with `--json`; None where another process of the run answers."""
    show: Sequence[Any] = ()
    """Otherwise: strings and rich tables, one after the other."""
    asked: bool = True
    """Whether the user asked to see it; a report of work done is left out when quiet."""
    notes: Sequence[str] = field(default=())
    """Lines for the error stream, unless quiet."""
    code: int = 0
    """Exit code."""


def print_answer(answer: Answer, output: Output) -> None:
    """Print an answer as JSON, as text, or not at all."""
    if answer.data is None:
        return
    for note in answer.notes:
        output.say(note)
    if output.json:
        print_json(answer.data)
    elif answer.asked or not output.quiet:
        print_parts(answer.show)


def print_json(data: Mapping[str, Any]) -> None:
    """One JSON object, on one line of standard output."""
    print(json.dumps(to_json(data), ensure_ascii=False, allow_nan=False), flush=True)


def print_parts(parts: Sequence[Any]) -> None:
    """Strings as they are, tables through rich: coloured only on a terminal, and never with NO_COLOR."""
    for part in parts:
        if isinstance(part, str):
            print(part)
        else:
            console = wide_console()
            with console.capture() as drawn:
                console.print(part)
            print("\n".join(line.rstrip() for line in drawn.get().splitlines()))
    sys.stdout.flush()


def wide_console():
    """A rich console on standard output that does not wrap a table at 80 columns when it goes into a file."""
    from rich.console import Console

    wide = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else 200
    colours = None if os.environ.get("NO_COLOR") else "auto"  # None is without bold too
    return Console(
        file=sys.stdout, color_system=colours, width=wide, highlight=False, emoji=False, markup=False
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]):
    """A table without lines; the last column takes what room is left."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns[:-1]:
        made.add_column(name, no_wrap=True)
    made.add_column(columns[-1], overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def megabytes(size: float) -> str:
    """A size in MB with two or three digits."""
    size /= 1e6
    return f"{size:.0f} MB" if size >= 100 else f"{size:.2g} MB" if size < 10 else f"{size:.1f} MB"


def place(path: str | Path) -> str:
    """A path as a person would write it: relative to here where it lies below, `~` for the home folder."""
    path = Path(path)
    for base, prefix in ((Path.cwd(), ""), (Path.home(), "~/")):
        if path.is_absolute() and path.is_relative_to(base):
            return f"{prefix}{path.relative_to(base)}"
    return str(path)
