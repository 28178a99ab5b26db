"""`melies ladder`: every family on the same pictures, for the same minutes, on one yardstick."""

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
from melies.recipes.job import Job
from melies.recipes.ladder import RUNGS, SETS
from melies.recipes.ladder.settings import LadderSettings

USUAL = ", ".join(f"{name} {usual.minutes:g}" for name, usual in SETS.items())

ABOUT = (
    "Train every family of generative models on the same pictures, for the same minutes of training each,"
    " and measure all of them in the same way: distances to pictures that none has seen, what an independent"
    " classifier sees, what each family is said to lack. A table is printed; --out gets a page with the"
    " figures, a record of each rung, and the models.\n\n"
    f"Rungs, in the order in which they are climbed: {', '.join(RUNGS)}.\n\n"
    f"Minutes for each rung where --budget does not say: {USUAL}; one's own pictures as fashion-mnist."
)
EXAMPLES = (
    "melies ladder",
    "melies ladder --data fashion-mnist --budget 10 --out runs/ladder-fashion",
    "melies ladder --data my-pictures.zip --size 32 --rungs vae gan ddpm",
    "melies ladder --out runs/ladder-digits --resume",
)


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """What to climb, and where to write."""

    settings: Annotated[LadderSettings, arg(name="")] = LadderSettings()
    out: Annotated[Path | None, bare_arg(metavar="FOLDER")] = None
    """Where the page, the records and the models go; runs/ladder-SET where left out."""
    resume: Annotated[bool, bare_arg()] = False
    """Go on where the ladder in that folder was stopped."""
    output: Annotated[Output, arg(name="")] = Output()


def ladder(argv: Sequence[str]) -> Answer:
    """Read the arguments and climb."""
    arguments = read_arguments(Ladder, argv, verb="ladder", about=ABOUT, examples=EXAMPLES)

    from melies.recipes.ladder.page import shared_cells
    from melies.recipes.ladder.run import run_ladder

    settings, output = arguments.settings, arguments.output
    out = arguments.out or Path("runs") / f"ladder-{settings.set_name}"
    job = Job(out=out, resume=arguments.resume, progress=output.progress, say=output.say)
    report = run_ladder(settings, job, command=command_line(sys.argv))
    cells = shared_cells(list(report.records.values()))
    rungs = {
        name: {
            "metrics": [metric._asdict() for metric in record.metrics],
            "failed": record.notes.get("failed", ""),
        }
        for name, record in report.records.items()
    }
    return Answer(
        data={
            "out": out,
            "page": report.page,
            "settings": settings,
            "rungs": rungs,
            "seconds": round(report.seconds, 3),
        },
        show=[
            table(cells.header, cells.rows),
            "",
            f"the page is {place(report.page)} ({duration(report.seconds)})",
        ],
    )
