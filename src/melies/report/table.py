"""Tables from records, and their places in Markdown files, so that no number is typed by hand.

A place is two comments, each on a line of its own; what stands between them is replaced:

    <!-- table records/emoji.json -->
    <!-- end -->

The path is relative to the Markdown file and may hold `*`, or `{vae,gan}` for one after the other.
Alone it gives one row per metric; followed by ` : fd | precision`, one row per record with those
metrics as columns. With `rows` in place of `table`: one row for each metric of these names, which may
hold `*`; with `training`: what the measured model has seen, for how long, and on what; with `listed`:
the table of words that a record itself has in its notes.
`python -m melies.report.table FILE.md …` fills the tables of files.
"""

import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from melies.errors import UserError
from melies.files import read_text, write_text
from melies.interfaces import Metric
from melies.report.record import Record, read_record

_START = re.compile(
    r"\s*<!--\s*(?P<what>table|rows|training|listed)\s+(?P<records>.+?)(?:\s+:\s+(?P<metrics>.+?))?\s*-->\s*"
)
_END = re.compile(r"\s*<!--\s*end\s*-->\s*")
_FENCE = re.compile(r"\s*(```|~~~)")


ARROWS = {True: " ↑", False: " ↓", None: ""}
"""After the name of a metric: which way is better."""


class Cells(NamedTuple):
    """A table before its rendering."""

    header: list[str]
    rows: list[list[str]]


def metric_cells(records: Sequence[Record]) -> Cells:
    """One row per metric: value, 95 % interval, unit, number of samples."""
    several = len(records) > 1
    header = (["of"] if several else []) + ["measure", "value", "95 % interval", "unit", "n"]
    rows = []
    for record in records:
        for metric in record.metrics:
            value, low, high = format_numbers(metric)
            cells = [_titled(metric), value, f"{low} to {high}", _unit(metric), f"{metric.num_samples:,}"]
            rows.append(([record.name] if several else []) + cells)
    return Cells(header, rows)


def comparison_cells(records: Sequence[Record], metrics: Sequence[str]) -> Cells:
    """One row per record, one column per metric: value [95 % interval], and the samples behind them.

    Raises:
        UserError: If no record has a metric of that name.
    """
    header, columns = ["of"], []
    for name in metrics:
        found = [metric for record in records for metric in record.metrics if metric.name == name]
        if not found:
            raise UserError(f"no record has a metric called {name!r}", where="table")
        header.append(column_title(found[0]))
        columns.append(name)
    rows = []
    for record in records:
        named = {metric.name: metric for metric in record.metrics}
        shown = [named.get(name) for name in columns]
        sizes = sorted({metric.num_samples for metric in shown if metric})
        counts = " to ".join(f"{size:,}" for size in (sizes[:1] + sizes[1:][-1:])) or "–"
        rows.append([record.name, *(_cell(metric) for metric in shown), counts])
    return Cells([*header, "n"], rows)


def column_title(metric: Metric, name: str = "") -> str:
    """What the column of a metric is headed by: its name, or another, which way is better, and its unit."""
    unit = _unit(metric)
    return f"{name or metric.name}{ARROWS[metric.higher_is_better]}" + (f" ({unit})" if unit else "")


def training_cells(records: Sequence[Record]) -> Cells:
    """One row per record: samples that the measured model has seen, hours and hardware of its training.

    Raises:
        UserError: If a record does not say how its model was trained.
    """
    rows = []
    for record in records:
        trained = record.notes.get("trained")
        if not isinstance(trained, Mapping) or not {"samples_seen", "seconds", "hardware"} <= trained.keys():
            raise UserError("the record does not say how its model was trained", where=record.name)
        hardware = trained["hardware"]
        machine = ", ".join(hardware["accelerators"]) or f"{hardware['cpu']}, {_cores(hardware['cpu_cores'])}"
        seen, hours = f"{trained['samples_seen']:,}", f"{trained['seconds'] / 3600:.1f}"
        kinds = next((f"{trained[name]:,}" for name in ("num_pictures", "num_shots") if name in trained), "–")
        rows.append([record.name, seen, kinds, hours, machine, f"{record.notes.get('num_weights', 0):,}"])
    return Cells(["of", "samples seen", "of a set of", "hours", "on", "weights"], rows)


def listed_cells(records: Sequence[Record]) -> Cells:
    """The rows of the tables that the records hold under `table` in their notes.

    Raises:
        UserError: If a record has none, or their columns differ.
    """
    header: list[str] = []
    rows: list[list[str]] = []
    for record in records:
        match record.notes.get("table"):
            case {"header": [*names], "rows": [*found]} if not header or names == header:
                header, rows = list(map(str, names)), [*rows, *([str(cell) for cell in row] for row in found)]
            case _:
                raise UserError("the record has no table of these columns", where=record.name)
    return Cells(header, rows)


def markdown(cells: Cells) -> str:
    """A table in Markdown; text is left-aligned, numbers to the right."""
    numeric = [
        all(row[i][:1] in set("0123456789−–") for row in cells.rows) and bool(cells.rows)
        for i in range(len(cells.header))
    ]
    rule = ["---:" if right else "---" for right in numeric]
    lines = [[_escaped(cell) for cell in cells.header], rule]
    lines += [[_escaped(cell) for cell in row] for row in cells.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def format_numbers(metric: Metric) -> tuple[str, str, str]:
    """Value, low and high with as many digits as the interval warrants; shares in per cent."""
    scale = 100.0 if metric.unit == "share" else 1.0
    value, low, high = (scale * number for number in (metric.value, *metric.interval))
    half = (high - low) / 2
    decimals = max(0, 1 - math.floor(math.log10(half))) if half > 0 else math.inf  # two digits of it
    style = f",.{decimals}f" if decimals <= 6 else ".4g"
    shown = [_signed(f"{number:{style}}") for number in (value, low, high)]
    return shown[0], shown[1], shown[2]


def with_interval(metric: Metric) -> str:
    """The value with its interval; what was counted has none."""
    value, low, high = format_numbers(metric)
    return value if low == value == high else f"{value} [{low}, {high}]"


def render_into(path: str | Path) -> list[str]:
    """Fill every table of a Markdown file from its records; the names of those that changed.

    Raises:
        UserError: If a place has no end, or its records are missing or broken; nothing is written.
    """
    path = Path(path)
    text, changed = _rendered(path)
    if changed:
        write_text(path, text)
    return changed


def out_of_date(path: str | Path) -> list[str]:
    """The tables of a Markdown file that differ from their records; nothing is written.

    Raises:
        UserError: As `render_into` does.
    """
    return _rendered(Path(path))[1]


def main(argv: Sequence[str] | None = None) -> int:
    """Fill the tables of the files named in `argv`, those of the process when None; the exit code."""
    paths = sys.argv[1:] if argv is None else argv
    try:
        if not paths:
            raise UserError("no file given", remedy="python -m melies.report.table README.md")
        for path in paths:
            changed = render_into(path)
            print(f"{path}: {'filled ' + ', '.join(changed) if changed else 'up to date'}")
    except UserError as error:
        print(f"tables: {error}", file=sys.stderr)
        return 2
    return 0


def _rendered(path: Path) -> tuple[str, list[str]]:
    old = read_text(path)
    ending = "\r\n" if "\r\n" in old else "\n"
    lines, changed, start = [], [], None
    body: list[str] = []
    for number, line, fenced in _lines(old):
        if start is None:
            lines.append(line)
            opened = None if fenced else _START.fullmatch(line)
            if opened:
                start, body = (number, opened), []
        elif _END.fullmatch(line):
            # blank lines around it: not every renderer starts a table right after a comment
            table = f"\n{markdown(_cells(path, start[1]))}\n\n".replace("\n", ending)
            if table != "".join(body):
                changed.append(start[1]["records"])
            lines += [table, line]
            start = None
        elif _START.fullmatch(line):
            break
        else:
            body.append(line)
    if start is not None:
        raise UserError("this table has no '<!-- end -->'", where=f"{path}, line {start[0]}")
    return "".join(lines), changed


def _lines(text: str) -> Iterator[tuple[int, str, bool]]:
    """Number and text of each line, and whether it is inside a fenced block of code."""
    fence = None
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        mark = _FENCE.match(line)
        if mark and fence in (None, mark[1]):
            fence = None if fence else mark[1]
        yield number, line, fence is not None


def _cells(path: Path, place: re.Match[str]) -> Cells:
    pattern = place["records"]
    if Path(pattern).is_absolute():
        raise UserError(f"{pattern} must be relative to the file", where=str(path))
    try:
        found = {one: sorted(path.parent.glob(one)) for one in _alternatives(pattern)}
    except ValueError as error:
        raise UserError(f"{pattern!r} is no pattern: {error}", where=str(path)) from None
    if missing := [one for one, files in found.items() if not files]:
        raise UserError(f"no record matches {missing[0]!r}", where=str(path))
    records = [read_record(entry) for files in found.values() for entry in files]
    if place["what"] == "training":
        return training_cells(records)
    if place["what"] == "listed":
        return listed_cells(records)
    if place["metrics"] is None:
        return metric_cells(records)
    names = [name.strip() for name in place["metrics"].split("|")]
    if place["what"] == "rows":
        return metric_cells([_only(record, names) for record in records])
    return comparison_cells(records, names)


def _only(record: Record, names: Sequence[str]) -> Record:
    """A record with the metrics of these names, in its own order."""
    for name in names:
        if not any(fnmatchcase(metric.name, name) for metric in record.metrics):
            raise UserError(f"has no metric {name!r}", where=record.name)
    kept = [metric for metric in record.metrics if any(fnmatchcase(metric.name, name) for name in names)]
    return replace(record, metrics=tuple(kept))


def _alternatives(pattern: str) -> list[str]:
    """`a/{b,c}.json` → `a/b.json`, `a/c.json`, in that order."""
    before, brace, rest = pattern.partition("{")
    inside, end, after = rest.partition("}")
    if not brace or not end:
        return [pattern]
    return [one for choice in inside.split(",") for one in _alternatives(before + choice + after)]


def _cores(count: int) -> str:
    return f"{count} core{'s' if count > 1 else ''}"


def _titled(metric: Metric) -> str:
    return f"{metric.name}{ARROWS[metric.higher_is_better]}"


def _unit(metric: Metric) -> str:
    return "%" if metric.unit == "share" else metric.unit


def _cell(metric: Metric | None) -> str:
    return "–" if metric is None else with_interval(metric)


def _signed(number: str) -> str:
    bare = number.lstrip("-")
    zero = not any(digit in bare for digit in "123456789")
    return f"−{bare}" if number.startswith("-") and not zero else bare


def _escaped(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.exit(main())
