"""What a verb says: progress and messages on the error stream, one answer on standard output."""

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from melies import progress
from melies.cli.read import bare_arg
from melies.config import to_json
from melies.progress import Progress

GAP = 2  # between columns of a table
FOLDED = 40  # the last column is folded rather than put below the others where this much is there for it
WIDE = 200  # of a line in a file, where a table does not need more


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


@dataclass(frozen=True, slots=True)
class Table:
    """A header and rows of text, laid out when it is printed, for the width that is there."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a verb found or did."""

    data: Mapping[str, Any] | None
    """The object printed with `--json`; None where another process of the run answers."""
    show: Sequence[str | Table] = ()
    """Otherwise: strings and tables, one after the other."""
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


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table without lines; the last column takes what room is left, and no other is ever cut."""
    return Table(columns, rows)


def print_parts(parts: Sequence[str | Table]) -> None:
    """Strings as they are, tables through rich: coloured only on a terminal, and never with NO_COLOR."""
    for part in parts:
        if isinstance(part, str):
            print(part)
        else:
            _print_table(part)
    sys.stdout.flush()


def _print_table(part: Table) -> None:
    """Below one another, each with the first column, where the columns have no room beside one another."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table as Drawn

    widths = [max(map(cell_len, cells)) for cells in zip(part.columns, *part.rows, strict=True)]
    widths[-1] = min(widths[-1], FOLDED)
    width = _width(sum(widths) + GAP * len(widths))
    colours = None if os.environ.get("NO_COLOR") else "auto"  # None is without bold too
    console = Console(
        file=sys.stdout, color_system=colours, width=width, highlight=False, emoji=False, markup=False
    )
    for number, block in enumerate(_blocks(widths, width)):
        drawn = Drawn(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
        for column in block:
            last = column == len(widths) - 1
            drawn.add_column(part.columns[column], no_wrap=not last, overflow="fold")
        for row in part.rows:
            drawn.add_row(*(row[column] for column in block))
        with console.capture() as text:
            console.print(drawn)
        print("\n" * (number > 0) + "\n".join(line.rstrip() for line in text.get().splitlines()))


def _width(needed: int) -> int:
    """Characters of a line: those of the terminal, and in a file what is needed."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size().columns
    return max(needed, WIDE)


def _blocks(widths: Sequence[int], width: int) -> list[list[int]]:
    """The columns in groups that fit, each with the first column at its head."""
    blocks = [[0]]
    for column in range(1, len(widths)):
        used = sum(widths[other] + GAP for other in blocks[-1])
        if len(blocks[-1]) > 1 and used + widths[column] > width:
            blocks.append([0])
        blocks[-1].append(column)
    return blocks


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
