"""The page of a ladder: one file that holds its numbers and its figures, and loads nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from melies.files import write_bytes
from melies.interfaces import Metric
from melies.recipes.ladder import RUNGS
from melies.recipes.ladder.measure import REAL, SHARED
from melies.report.html import measures, pictures, table, text, write_page
from melies.report.png import png_bytes
from melies.report.record import Record
from melies.report.table import Cells, comparison_cells


class Figure(NamedTuple):
    """One picture of the page."""

    section: str
    """Heading that it stands under; figures of one section come one after the other."""
    name: str
    """Of its file, without the suffix."""
    caption: str
    """What is to be seen, in a sentence."""
    picture: Image.Image


def write_figures(folder: Path, figures: Sequence[Figure]) -> None:
    """Every figure as a file of its own, besides the page."""
    for figure in figures:
        write_bytes(folder / f"{figure.name}.png", png_bytes(figure.picture))


def write_ladder_page(
    path: Path, records: Mapping[str, Record], figures: Sequence[Figure], *, about: Sequence[str]
) -> Path:
    """The page of records and figures.

    Raises:
        UserError: If the file cannot be written.
    """
    title = f"The ladder on {next(iter(records.values())).data.get('set', 'pictures')}"
    rungs = [records[name] for name in RUNGS if name in records]
    sections = [text("What was done", about)]
    if failed := [f"{record.name}: {why}" for record in rungs if (why := failure(record))]:
        sections.append(text("What failed", failed))
    done = [record for record in rungs if not failure(record)]
    if done:
        sections.append(table("On one yardstick", shared_cells(rungs)))
    for section, group in _grouped(figures):
        shown = [figure.picture for figure in group]
        sections.append(pictures(section, shown, [figure.caption for figure in group]))
    others = [record for name, record in records.items() if name not in RUNGS]
    if done or others:
        sections.append(measures("Every number", [*done, *others]))
    return write_page(path, title, sections)


def shared_cells(records: Sequence[Record]) -> Cells:
    """What all rungs are measured by: a row each, and one of what the same measures read of real pictures.

    Names are without the features, which are those of the whole ladder. A rung that failed has no numbers.
    """
    known = [
        replace(record, metrics=tuple(found for name in SHARED if (found := plain(record, name))))
        for record in (*(record for record in records if record.name in RUNGS), real_record(records))
    ]
    shown = [name for name in SHARED if any(record.find(name) for record in known)]
    cells = comparison_cells(known, shown)
    return Cells(cells.header[:-1], [row[:-1] for row in cells.rows])  # without counts, which are one for all


def real_record(records: Sequence[Record]) -> Record:
    """What the measures of `REAL` read of real pictures, by the names that they have of drawn ones."""
    found = []
    for name, real in REAL.items():
        of = next((record for record in records if record.find(real) and record.find(name)), None)
        if of is not None and (like := of.find(name)) and (metric := of.find(real)):
            found.append(metric._replace(name=like.name))
    return replace(records[0], name="real pictures", metrics=tuple(found), duration_s=0.0)


def plain(record: Record, name: str) -> Metric | None:
    """The metric of that name, without the features that it tells."""
    found = record.find(name)
    return None if found is None else found._replace(name=name)


def failure(record: Record) -> str:
    """Why a rung was given up; empty where it was not."""
    return str(record.notes.get("failed", ""))


def _grouped(figures: Sequence[Figure]) -> Iterator[tuple[str, list[Figure]]]:
    for section in dict.fromkeys(figure.section for figure in figures):
        yield section, [figure for figure in figures if figure.section == section]
