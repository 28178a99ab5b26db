"""The laboratory: draw every cell on every mixture, measure, and write records and figures.

    melies guidance laboratory --out runs/laboratory

9,240 cells of 1,000 samples, about six minutes on one core; 1,440 with --brief, which leaves out the other
ways on schedules. A record for each mixture, a figure of errors and
one of samples.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from melies.errors import UserError
from melies.files import write_bytes
from melies.progress import Track
from melies.recipes.guidance.laboratory import show
from melies.recipes.guidance.laboratory.cells import (
    Cell,
    Measures,
    draw,
    measure,
    measure_cells,
    measure_truth,
    plan,
    prepare,
)
from melies.recipes.guidance.laboratory.mixtures import MIXTURES
from melies.recipes.guidance.laboratory.settings import LaboratorySettings
from melies.recipes.guidance.laboratory.summary import Found, metrics_of, rows_of, summarise
from melies.recipes.job import Job
from melies.report.png import png_bytes
from melies.report.record import record_run, write_record

UNGUIDED = Cell("plain", "static", 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaboratoryReport:
    """What was written."""

    out: Path
    found: Mapping[str, Found]
    """By mixture."""
    records: tuple[Path, ...]
    figures: tuple[Path, ...]
    seconds: float


def run_laboratory(settings: LaboratorySettings, job: Job, *, command: str) -> LaboratoryReport:
    """Draw, measure and write into `job.out`: records/MIXTURE/laboratory.json and two figures.

    Args:
        settings: What is drawn.
        job: Where to.
        command: What makes the records again.

    Raises:
        UserError: If a file cannot be written.
    """
    begun = time.perf_counter()
    found, records = {}, []
    num_cells = len(settings.mixtures) * sum(1 for _ in plan(settings))
    with job.progress("drawing", total=num_cells, unit="cells") as track:
        for name in settings.mixtures:
            started = time.perf_counter()
            found[name] = examine(name, settings, track)
            record = record_run(
                name,
                metrics_of(found[name].ways, found[name].truth, found[name].unguided, settings),
                data={"set": name, "of": (MIXTURES[name].__doc__ or "").strip()},
                command=command,
                duration_s=time.perf_counter() - started,
                notes={
                    "settings": settings,
                    "ways": rows_of(found[name].ways),
                    "left out": dict(found[name].refused),
                },
            )
            records.append(write_record(job.out / "records" / name / "laboratory.json", record))
    figures = []
    for title, image in show.figures(found, settings).items():
        figures.append(write_bytes(job.out / f"{title}.png", png_bytes(image)))
    return LaboratoryReport(
        out=job.out,
        found=found,
        records=tuple(records),
        figures=tuple(figures),
        seconds=time.perf_counter() - begun,
    )


def examine(name: str, settings: LaboratorySettings, track: Track) -> Found:
    """All cells of one mixture."""
    bench = prepare(MIXTURES[name](), settings)
    unguided, truth = measure(bench, draw(bench, UNGUIDED)), measure_truth(bench)
    cells: dict[Cell, Measures] = {}
    refused: dict[str, str] = {}
    for cell, measures in measure_cells(bench, settings):
        if isinstance(measures, UserError):
            refused[f"{cell.method} {cell.schedule} {cell.scale:g}"] = str(measures)
        else:
            cells[cell] = measures
        track.advance(1)
    ways = summarise(cells, unguided, settings)
    return Found(bench=bench, unguided=unguided, truth=truth, cells=cells, refused=refused, ways=ways)
