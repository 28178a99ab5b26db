"""`melies guidance experiments`: the tutorial's experiments with guidance, on one model."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from melies.cli.output import Answer, Output, place, table
from melies.cli.read import bare_arg, read_arguments
from melies.machine import command_line
from melies.progress import duration
from melies.recipes.guidance import EXPERIMENTS
from melies.recipes.guidance.experiment_settings import ExperimentSettings
from melies.recipes.job import Job

ABOUT = (
    "Make the tutorial's experiments with guidance on one model, each as a sweep over the same seeds:\n\n"
    + "\n\n".join(f"{name}: {what}." for name, what in EXPERIMENTS.items())
    + "\n\n--out gets a page with all tables and figures, the sweeps, and a record of every cell, by which"
    " `melies claims guidance --records FOLDER` judges what the tutorial says. With --resume it goes on where"
    " it was stopped."
)
EXAMPLES = (
    "melies guidance experiments --model runs/fashion-mnist --classifier runs/fashion-noisy-classifier",
    "melies guidance experiments --model emoji --only weights removed --seeds 200",
)


@dataclass(frozen=True, kw_only=True)
class Experiments:
    """What to make, and where to write."""

    settings: Annotated[ExperimentSettings, arg(name="")] = ExperimentSettings()
    out: Annotated[Path | None, bare_arg(metavar="FOLDER")] = None
    """Where the page, the sweeps and the records go; runs/guidance-MODEL where left out."""
    resume: Annotated[bool, bare_arg()] = False
    """Go on where the experiments in that folder were stopped."""
    output: Annotated[Output, arg(name="")] = Output()


def experiments(argv: Sequence[str]) -> Answer:
    """Read the arguments and make the experiments."""
    arguments = read_arguments(Experiments, argv, verb="guidance experiments", about=ABOUT, examples=EXAMPLES)
    settings, output = arguments.settings, arguments.output

    from melies.recipes.guidance.experiments import run_experiments
    from melies.recipes.guidance.experiments_page import PAGE
    from melies.recipes.sweep.page import result_cells

    out = arguments.out or Path("runs") / f"guidance-{Path(settings.model).name}"
    job = Job(out=out, resume=arguments.resume, progress=output.progress, say=output.say)
    report = run_experiments(settings, job, command=command_line(sys.argv))
    shown: list[Any] = []
    for name, made in report.sweeps.items():
        cells = result_cells(made.results)
        shown += [f"{name}: {EXPERIMENTS[name]}", "", table(cells.header, cells.rows), ""]
    return Answer(
        data={
            "out": out,
            "page": out / PAGE,
            "settings": settings,
            "records": sorted(report.records),
            "experiments": {
                name: [result.to_json() for result in made.results] for name, made in report.sweeps.items()
            },
            "skipped": report.skipped,
            "seconds": round(report.seconds, 3),
        },
        show=[*shown, f"the page is {place(out / PAGE)} ({duration(report.seconds)})"],
        notes=[f"{name} was not made: {reason}" for name, reason in report.skipped.items()],
    )
