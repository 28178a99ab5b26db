"""`melies sweep`: one model in many ways of guiding, the same pictures in each, compared pair by pair."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from melies.cli.output import Answer, Output, place, table
from melies.cli.read import bare_arg, read_arguments
from melies.diffusion import METHODS, NEEDS, SAMPLERS, SCHEDULES
from melies.machine import command_line
from melies.progress import duration
from melies.recipes.job import Job
from melies.recipes.sweep.settings import SweepSettings

ABOUT = (
    "Draw from one model in every combination of the ways of guiding, schedules, scales, steps and samplers"
    " that are named, always the same pictures of the same seeds, and measure each: distance to real"
    " pictures, variety, agreement with what was asked, saturation, network evaluations and time. What"
    " differs from static guidance at the same scale is told with its interval. Combinations that do not go"
    " together are left out, with the reason.\n\n"
    "--out gets a line of JSON for each cell (cells.jsonl) as soon as it is done, sweep.json with all of them"
    " and their differences, figures with the cells that no other beats, and a page. With --resume a sweep"
    " goes on where it was stopped, and may get more cells; a cell that is done is never drawn again.\n\n"
    f"Ways of guiding: {', '.join(METHODS)}"
    f" ({', '.join(f'{name} needs --{needed}' for name, needed in NEEDS.items())}). Schedules:"
    f" {', '.join(SCHEDULES)}. Samplers: {', '.join(SAMPLERS)}."
)
EXAMPLES = (
    "melies sweep --model emoji --schedules static linear cosine --scales 1 2 4 8 --seeds 200",
    "melies sweep --model runs/fashion-mnist --methods plain projected rescaled --scales 2 4 --dry-run",
    "melies sweep --model emoji --intervals all 0.3:5 --removals 0.8:1 0.4:0.6 0:0.2 --scales 4",
    "melies sweep --model emoji --schedules static linear cosine --scales 1 2 4 8 --out runs/s --resume",
)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What to draw, and where to write."""

    settings: Annotated[SweepSettings, arg(name="")] = SweepSettings()
    out: Annotated[Path | None, bare_arg(metavar="FOLDER")] = None
    """Where rows, figures and the page go; runs/sweep-MODEL-FINGERPRINT where left out."""
    resume: Annotated[bool, bare_arg()] = False
    """Go on with the sweep in that folder."""
    dry_run: Annotated[bool, bare_arg()] = False
    """List the cells and their network evaluations, and draw nothing."""
    allow_download: Annotated[bool, bare_arg()] = False
    """Fetch what is named and not here from the Hugging Face hub."""
    output: Annotated[Output, arg(name="")] = Output()


def sweep(argv: Sequence[str]) -> Answer:
    """Read the arguments and sweep, or say what would be drawn."""
    arguments = read_arguments(Sweep, argv, verb="sweep", about=ABOUT, examples=EXAMPLES)
    output = arguments.output

    from dataclasses import replace

    from melies.recipes.sweep.cells import reasons
    from melies.recipes.sweep.page import result_cells
    from melies.recipes.sweep.run import prepare_sweep, run_sweep, usual_folder

    job = Job(
        out=arguments.out or Path("runs"),
        resume=arguments.resume,
        allow_download=arguments.allow_download,
        progress=output.progress,
        say=output.say,
    )
    prepared = prepare_sweep(arguments.settings, job)
    if arguments.dry_run:
        return _planned(prepared)
    job = replace(job, out=arguments.out or usual_folder(prepared))
    report = run_sweep(prepared, job, command=command_line(sys.argv))
    cells = result_cells(report.results)
    return Answer(
        data={
            "out": report.out,
            "page": report.page,
            "fingerprint": report.fingerprint,
            "settings": arguments.settings,
            "cells": [result.to_json() for result in report.results],
            "skipped": [entry._asdict() for entry in report.plan.skipped],
            "drawn": report.drawn,
            "seconds": round(report.seconds, 3),
        },
        show=[
            table(cells.header, cells.rows),
            "",
            f"{report.drawn} cells drawn now; the page is {place(report.page)} ({duration(report.seconds)})",
        ],
        notes=reasons(report.plan.skipped),
    )


def _planned(prepared: Any) -> Answer:
    from melies.recipes.sweep.cells import reasons

    plan = prepared.plan
    rows = [(entry.cell.name, f"{entry.evaluations:,}", f"{prepared.cost(entry):,}") for entry in plan.cells]
    total = sum(prepared.cost(entry) for entry in plan.cells)
    return Answer(
        data={
            "fingerprint": prepared.fingerprint,
            "cells": [
                {"name": e.cell.name, "cell": e.cell, "evaluations": e.evaluations} for e in plan.cells
            ],
            "skipped": [entry._asdict() for entry in plan.skipped],
            "pictures": len(prepared.drawing.asked.rows),
            "evaluations": total,
        },
        show=[
            table(("cell", "evaluations per picture", "in all"), rows),
            "",
            f"{len(plan.cells)} cells of {len(prepared.drawing.asked.rows):,} pictures,"
            f" {total:,} network evaluations",
            *reasons(plan.skipped),
        ],
    )
