"""`melies guidance laboratory`: every way of guiding where the truth is known exactly."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from melies.cli.output import Answer, Output, place, table
from melies.cli.read import bare_arg, read_arguments
from melies.machine import command_line
from melies.progress import duration
from melies.recipes.guidance.laboratory.settings import NOT_HERE, THIRDS, LaboratorySettings
from melies.recipes.job import Job

ABOUT = (
    "Guide on mixtures of Gaussians, whose scores and densities are exact, so that an error is that of"
    " guidance alone. Every way of guiding is drawn on every schedule, and in the"
    f" {', '.join(THIRDS[:-1])} and {THIRDS[-1]} third of the run alone, at every mean scale, always from the"
    " same noise. Each is compared with the density that guidance promises, p(x)·p(y|x)^s: at the mean scale"
    " s, and at the scale that is best for it; and by the papers' measures, the Fréchet distance from p(x|y)"
    " and the diversity, where its p(y|x) is that of static guidance. All numbers have 95 % intervals.\n\n"
    "--out gets a record for each mixture, and figures of errors and of samples. Of the ways of guiding,"
    f" {', '.join(NOT_HERE)} are not here, since a mixture has neither attention nor frequencies."
)
EXAMPLES = (
    "melies guidance laboratory --out runs/laboratory",
    "melies guidance laboratory --brief",
    "melies guidance laboratory --mixtures overlapping --methods plain --scales 1.5 2 3 4 5 6 8",
    "melies guidance laboratory --schedules static linear pcs:2 pcs:4 --tilt 2 --json",
)


@dataclass(frozen=True, kw_only=True)
class Laboratory:
    """What to draw, and where to write."""

    settings: Annotated[LaboratorySettings, arg(name="")] = LaboratorySettings()
    out: Annotated[Path, bare_arg(metavar="FOLDER")] = Path("runs/laboratory")
    """Where records and figures go."""
    output: Annotated[Output, arg(name="")] = Output()


def laboratory(argv: Sequence[str]) -> Answer:
    """Read the arguments, draw and measure."""
    arguments = read_arguments(Laboratory, argv, verb="guidance laboratory", about=ABOUT, examples=EXAMPLES)

    from melies.recipes.guidance.laboratory.run import run_laboratory
    from melies.recipes.guidance.laboratory.show import best_cells
    from melies.recipes.guidance.laboratory.summary import rows_of

    report = run_laboratory(
        arguments.settings,
        Job(out=arguments.out, progress=arguments.output.progress, say=arguments.output.say),
        command=command_line(sys.argv),
    )
    refused = {name: dict(found.refused) for name, found in report.found.items() if found.refused}
    notes = []
    if refused:
        count = sum(map(len, refused.values()))
        notes.append(f"note: {count} combinations do not go together; the records say why")
    cells = best_cells(report.found)
    return Answer(
        data={
            "out": report.out,
            "settings": arguments.settings,
            "mixtures": {name: rows_of(found.ways) for name, found in report.found.items()},
            "left_out": refused,
            "records": list(report.records),
            "figures": list(report.figures),
            "seconds": round(report.seconds, 3),
        },
        show=[
            table(cells.header, cells.rows),
            "",
            f"records and figures are in {place(report.out)} ({duration(report.seconds)})",
        ],
        notes=notes,
    )
