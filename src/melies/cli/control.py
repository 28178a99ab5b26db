"""`melies control`: take spatial conditions from pictures and videos, and measure what keeps to them."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from tyro.conf import Positional, arg

from melies.cli.output import Answer, Output, place, table
from melies.cli.read import bare_arg, read_arguments
from melies.errors import choose
from melies.images.conditions import CONDITIONS
from melies.machine import command_line

Settings = TypeVar("Settings")

ABOUT = (
    "Take a condition from a picture, from every picture of a folder or zip, or from a video, and write it as"
    " PNG under the picture's name, with a sheet of pictures and conditions side by side.\n\nKinds:\n"
    + "\n".join(
        f" {name}: {kind.what}" + (" (needs --weights)" if kind.weights else "")
        for name, kind in CONDITIONS.items()
    )
)
EXAMPLES = (
    "melies control extract canny bee.png",
    "melies control extract scribble pictures/ --out hints --seed 3",
    "melies control extract softedge film.mp4 --every 0.5",
    "melies control extract pose dancer.json",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract:
    """Which condition, of what, to where."""

    kind: Annotated[Positional[str], arg(metavar="KIND")]
    """One of the kinds above."""
    source: Annotated[Positional[Path], arg(metavar="IMAGE|FOLDER|VIDEO")]
    """A picture, a folder or zip of pictures, or a video; for pose also OpenPose's JSON."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("hints")
    """Where the conditions go."""
    weights: Annotated[Path | None, bare_arg(metavar="PATH")] = None
    """The file or folder that a kind with a network needs."""
    seed: int = 0
    """Which variation of a scribble."""
    every: Annotated[float, arg(metavar="SECONDS")] = 1.0
    """Of a video: seconds between two pictures."""
    output: Annotated[Output, arg(name="")] = Output()


def extract(argv: Sequence[str]) -> Answer:
    """Read the arguments and take the conditions."""
    arguments = read_arguments(Extract, argv, verb="control extract", about=ABOUT, examples=EXAMPLES)
    kind = choose(arguments.kind, CONDITIONS, "kind of condition")

    from melies.images.conditions.files import ExtractSettings, extract_files

    report = extract_files(
        ExtractSettings(
            kind=arguments.kind,
            source=arguments.source,
            weights=arguments.weights,
            seed=arguments.seed,
            every_s=arguments.every,
        ),
        arguments.out,
        progress=arguments.output.progress,
    )
    count = len(report.hints)
    notes = [f"{report.empty} of {count} are empty: there is nothing of this kind"] if report.empty else []
    said = f"{count} of {arguments.kind} in {place(arguments.out)}"
    return Answer(
        data={
            "kind": arguments.kind,
            "what": kind.what,
            "hints": list(report.hints),
            "sheet": report.sheet,
            "empty": report.empty,
            "seconds": report.seconds,
        },
        show=[said + (f"; side by side in {place(report.sheet)}" if report.sheet else "")],
        asked=False,
        notes=notes,
    )


MEASURED = (
    "Draw the held-out pictures of a control branch's set from their hints and words, at several control"
    " scales, and measure: edges (F1 within two pixels, and within one) and masks (intersection over union)"
    " of the hint taken again from what was drawn; agreement with the words; Fréchet distance. Control scale"
    " 0 is the base alone. The record goes into --out, with fidelity against control scale, one drawing under"
    " six prompts and six drawings under one."
)
MEASURED_BY = (
    "melies control evaluate --branch runs/control-emoji",
    "melies control evaluate --branch runs/control-emoji --count 120 --control-scales 0 1 --out quick",
)


@dataclass(frozen=True, kw_only=True)
class Evaluate(Generic[Settings]):
    """What to measure, and where to write."""

    settings: Annotated[Settings, arg(name="")]
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("out/control")
    """Where the record and its figures go."""
    allow_download: Annotated[bool, bare_arg()] = False
    """Fetch the weights of the text encoder from the Hugging Face hub where they are not here."""
    output: Annotated[Output, arg(name="")] = Output()


def evaluate(argv: Sequence[str]) -> Answer:
    """Read the arguments and measure."""
    from melies.recipes.control.evaluate import ControlEvaluation, evaluate_control
    from melies.report.table import metric_cells

    arguments = read_arguments(
        Evaluate[ControlEvaluation], argv, verb="control evaluate", about=MEASURED, examples=MEASURED_BY
    )
    record = evaluate_control(
        arguments.settings,
        arguments.out,
        command=command_line(sys.argv),
        allow_download=arguments.allow_download,
        progress=arguments.output.progress,
        say=arguments.output.say,
    )
    cells = metric_cells([record])
    return Answer(
        data={"out": arguments.out, "metrics": [metric._asdict() for metric in record.metrics]},
        show=[table(cells.header, cells.rows), "", f"{record.name}, written to {place(arguments.out)}"],
    )


EXPERIMENTS = (
    "Train a control branch, and the same with one thing changed: joints that do not start at zero, a base"
    " that is not locked, the base tuned instead of a branch, fewer pairs. Each run is measured on the same"
    " held-out pairs and compared with the branch pair by pair. --out gets a page, figures, and a record of"
    " each run, by which `melies claims control --records FOLDER` judges what the tutorial says. By default a"
    " run sees 64,000 pictures, some 25 minutes on one core of a server's processor. With --resume the"
    " command goes on where it was stopped."
)
EXPERIMENTED = (
    "melies control experiments --out runs/control-experiments",
    "melies control experiments --only branch tuning --pairs --num-samples 20000",
)


@dataclass(frozen=True, kw_only=True)
class Experiments(Generic[Settings]):
    """What to make, and where to write."""

    settings: Annotated[Settings, arg(name="")]
    data: Annotated[Path | None, bare_arg(metavar="PATH")] = None
    """The pictures; where left out, where `melies data prepare emoji` puts them."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("runs/control-experiments")
    """Where the runs, the page and the records go."""
    resume: Annotated[bool, bare_arg()] = False
    """Go on where the runs in that folder were stopped."""
    allow_download: Annotated[bool, bare_arg()] = False
    """Fetch the weights of the text encoder from the Hugging Face hub where they are not here."""
    output: Annotated[Output, arg(name="")] = Output()


def experiments(argv: Sequence[str]) -> Answer:
    """Read the arguments and make the runs."""
    from melies.recipes.control.experiments import ControlExperiments, run_experiments
    from melies.recipes.control.experiments_page import PAGE, run_cells, write_experiments
    from melies.recipes.job import Job

    arguments = read_arguments(
        Experiments[ControlExperiments],
        argv,
        verb="control experiments",
        about=EXPERIMENTS,
        examples=EXPERIMENTED,
    )
    out, output = arguments.out, arguments.output
    job = Job(
        out=out,
        data=arguments.data,
        resume=arguments.resume,
        allow_download=arguments.allow_download,
        progress=output.progress,
        say=output.say,
    )
    report = run_experiments(arguments.settings, job)
    page = write_experiments(out, report, arguments.settings)
    cells = run_cells(report)
    return Answer(
        data={"out": out, "page": page, "settings": arguments.settings, "records": sorted(report.records)},
        show=[table(cells.header, cells.rows), "", f"the page is {place(out / PAGE)}"],
    )
