"""`melies camera`: draw camera paths beside a character, say what paths do, and measure models."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from tyro.conf import Positional, arg

from melies.cli.output import Answer, Output, place, table
from melies.cli.read import bare_arg, read_arguments
from melies.machine import command_line
from melies.progress import duration

Settings = TypeVar("Settings")

DRAWN = (
    "Draw camera paths from words, beside a character that stays or moves.\n\n--character takes a preset"
    " (still, walk-right, walk-left, walk-forward, walk-backward, walk-then-stop, circle, stairs), or a file"
    " with where the hips are in each frame: .npy (n, 3) or .csv with x, y, z, in metres, x right, y down,"
    " z forward; .bvh, whose root it is; .gltf or .glb, whose first node that moves it is, or the one that is"
    " named, as in actor.glb#Hips.\n\nPoses given with --start, --end and --key hold exactly, and the rest of"
    " the path is drawn to fit them. Write them with =, as numbers may begin with a minus.\n\n--out gets for"
    " each take a path, a picture of it from above and from the side, and what was asked for. Its formats"
    " are those of `melies camera convert`."
)
DRAWN_BY = (
    'melies camera generate "The camera trucks right and pushes in" --character walk-right --out shot.usda',
    'melies camera generate "The camera trucks right" --model runs/director --character walk-right',
    'melies camera generate "The camera pushes in once the character stops" --model runs/director'
    " --character walk-then-stop --count 4 --seed 3",
    'melies camera generate "The camera pushes in" --model runs/director --start=0,-0.3,-4,0,0'
    " --end=0,-0.3,-1.5 --margin 0.1",
)
MEASURED = (
    "Draw held-out shots from their captions beside their characters, and measure: whether the tagger finds"
    " what was asked for, with the right words and with others'; how near the paths are to those of the set"
    " in CLaTr's space; how often the character is out of the picture, and how the camera shakes; and whether"
    " a character that goes the other way, under the same words, turns the camera's way round. The shots are"
    " made by rule."
)
MEASURED_BY = (
    "melies camera evaluate --model runs/director --clatr runs/clatr",
    'melies camera evaluate --model runs/director --clatr "" --count 100',
)
TRIED = (
    "Make the slides' experiments with camera paths: every model measured on the same held-out shots, as"
    " `melies camera evaluate` does, the first one at several scales of guidance too, and the slides' prompts"
    " drawn. --out gets a page with the tables and figures, and a record of each measurement, by which"
    " `melies claims camera --records FOLDER` judges what the slides say. With --resume it goes on where it"
    " was stopped."
)
TRIED_BY = (
    "melies camera experiments",
    "melies camera experiments --models runs/director runs/director-in-context --count 100 --scales 1 1.4",
)


@dataclass(frozen=True, kw_only=True)
class Generate(Generic[Settings]):
    """What to draw, and where to."""

    prompts: Annotated[Positional[tuple[str, ...]], bare_arg(metavar="PROMPT…")] = ()
    """What the camera does, in words; takes of each."""
    settings: Annotated[Settings, arg(name="")]
    out: Annotated[Path, arg(metavar="FOLDER|FILE")] = Path("out/camera")
    """A folder for the takes, in which nothing is overwritten, or a file such as shot.usda, whose suffix says
    the format."""
    overwrite: Annotated[bool, bare_arg()] = False
    """Whether that file may be there already."""
    allow_download: Annotated[bool, bare_arg()] = False
    """Fetch the weights of the text encoder from the Hugging Face hub where they are not here."""
    output: Annotated[Output, arg(name="")] = Output()


@dataclass(frozen=True, kw_only=True)
class Evaluate(Generic[Settings]):
    """What to measure, and where to write."""

    settings: Annotated[Settings, arg(name="")]
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("out/camera-evaluation")
    """Where the record goes."""
    allow_download: Annotated[bool, bare_arg()] = False
    """Fetch the weights of the text encoder from the Hugging Face hub where they are not here."""
    output: Annotated[Output, arg(name="")] = Output()


@dataclass(frozen=True, kw_only=True)
class Experiments(Generic[Settings]):
    """What to try, and where to write."""

    settings: Annotated[Settings, arg(name="")]
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("runs/camera-experiments")
    """Where the page, the figures and the records go."""
    resume: Annotated[bool, bare_arg()] = False
    """Go on where the experiments in that folder were stopped."""
    allow_download: Annotated[bool, bare_arg()] = False
    """Fetch the weights of the text encoder from the Hugging Face hub where they are not here."""
    output: Annotated[Output, arg(name="")] = Output()


def generate(argv: Sequence[str]) -> Answer:
    """Read the arguments and draw."""
    from melies.camera.files import PathSettings, generate_paths

    arguments = read_arguments(
        Generate[PathSettings], argv, verb="camera generate", about=DRAWN, examples=DRAWN_BY
    )
    arguments.output.say(f"loading the model {arguments.settings.model}")
    report = generate_paths(
        arguments.prompts,
        arguments.settings,
        arguments.out,
        overwrite=arguments.overwrite,
        allow_download=arguments.allow_download,
        progress=arguments.output.progress,
        say=arguments.output.say,
    )
    return Answer(
        data={"takes": [take._asdict() for take in report.takes], "seconds": round(report.seconds, 3)},
        show=[
            table(
                ("path", "prompt", "what the tagger sees", "off-screen"),
                [
                    (place(take.path), take.prompt, take.tags, f"{100 * take.off_screen:.0f} %")
                    for take in report.takes
                ],
            ),
            "",
            f"{len(report.takes)} paths in {place(report.takes[0].path.parent)} ({report.seconds:.1f} s)",
        ],
        asked=False,
    )


def evaluate(argv: Sequence[str]) -> Answer:
    """Read the arguments and measure."""
    from melies.recipes.camera.evaluate import CameraEvaluation, evaluate_paths
    from melies.report.table import metric_cells

    arguments = read_arguments(
        Evaluate[CameraEvaluation], argv, verb="camera evaluate", about=MEASURED, examples=MEASURED_BY
    )
    record = evaluate_paths(
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


def experiments(argv: Sequence[str]) -> Answer:
    """Read the arguments and make the experiments."""
    from melies.recipes.camera.evaluate import PARTS
    from melies.recipes.camera.experiments import CameraExperiments, run_experiments
    from melies.recipes.camera.experiments_page import PAGE, part_cells, write_experiments
    from melies.recipes.job import Job

    arguments = read_arguments(
        Experiments[CameraExperiments], argv, verb="camera experiments", about=TRIED, examples=TRIED_BY
    )
    output, out = arguments.output, arguments.out
    job = Job(
        out=out,
        resume=arguments.resume,
        allow_download=arguments.allow_download,
        progress=output.progress,
        say=output.say,
    )
    report = run_experiments(arguments.settings, job, command=command_line(sys.argv))
    write_experiments(out, report, arguments.settings)
    shown: list[Any] = []
    for part in PARTS:
        cells = part_cells(list(report.designs.values()), part)
        shown += [f"{part} shots", "", table(cells.header, cells.rows), ""]
    return Answer(
        data={
            "out": out,
            "page": out / PAGE,
            "models": {
                name: [metric._asdict() for metric in record.metrics]
                for name, record in report.designs.items()
            },
            "scales": {
                f"{scale:g}": [metric._asdict() for metric in record.metrics]
                for scale, record in report.scales.items()
            },
            "seconds": round(report.seconds, 3),
        },
        show=[*shown, f"the page is {place(out / PAGE)} ({duration(report.seconds)})"],
    )
