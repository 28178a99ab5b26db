"""`melies camera dataset`: sets of camera paths with their characters and captions."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from tyro.conf import Positional, arg

from melies.cli.output import Answer, Output, place, table
from melies.cli.read import bare_arg, read_arguments
from melies.machine import command_line

Settings = TypeVar("Settings")

MADE = (
    "Make shots by rule, with exactly known motions, in the folders of the data set E.T.: traj, char, their"
    " raw twins, cam_segments, char_segments, caption, caption_cam, intrinsics and the lists of its splits;"
    " gt has what each shot is made of."
)
MADE_BY = ("melies camera dataset synthesize --out et-made --count 2000 --seed 1",)
COUNTED = (
    "Count what is in a set: what the tables of papers say of it. It may be laid out as E.T., as HumanML3D or"
    " KIT-ML, or be CCD's file, made a .npz of."
)
COUNTED_BY = (
    "melies camera dataset stats et-made",
    "melies camera dataset stats et-made --split pure_test --json",
    "melies camera dataset stats HumanML3D --split train",
)
SCORED = (
    "Make shots by rule, spoil them as a reconstruction from pictures does (windows of other scales and"
    " origins, noise, jumps, frames without a character), bring them back as `camera dataset build` does, and"
    " compare with what they were: frames kept, trajectory error, and tags as the truth has them. The same of"
    " shots that nothing is wrong with, and without smoothing."
)
SCORED_BY = (
    "melies camera dataset score",
    "melies camera dataset score --spoiling.jitter 0.01 --cleaning.measurement-std 4",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthesize:
    """How many shots, and where to."""

    out: Annotated[Path, bare_arg(metavar="FOLDER")]
    """A folder that is new or empty."""
    count: int = 1000
    """Shots."""
    seed: int = 0
    """Another seed, other shots."""
    output: Annotated[Output, arg(name="")] = Output()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Which set."""

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """A set."""
    split: Annotated[str | None, bare_arg(metavar="NAME")] = None
    """Only the samples of a list, such as pure_test or train."""
    output: Annotated[Output, arg(name="")] = Output()


@dataclass(frozen=True, kw_only=True)
class Score(Generic[Settings]):
    """What to score, and where to write."""

    settings: Annotated[Settings, arg(name="")]
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("out/camera-pipeline")
    """Where the record goes."""
    output: Annotated[Output, arg(name="")] = Output()


def synthesize(argv: Sequence[str]) -> Answer:
    """Read the arguments and make the shots."""
    from melies.camera.dataset import synthesize_set

    arguments = read_arguments(
        Synthesize, argv, verb="camera dataset synthesize", about=MADE, examples=MADE_BY
    )
    found = synthesize_set(
        arguments.out, arguments.count, seed=arguments.seed, progress=arguments.output.progress
    )
    return set_answer(arguments.out, asdict(found), asked=False)


def stats(argv: Sequence[str]) -> Answer:
    """Read the arguments and count."""
    from melies.camera.other_sets import count_any

    arguments = read_arguments(Stats, argv, verb="camera dataset stats", about=COUNTED, examples=COUNTED_BY)
    return set_answer(arguments.folder, asdict(count_any(arguments.folder, arguments.split)), asked=True)


def score(argv: Sequence[str]) -> Answer:
    """Read the arguments and score."""
    from melies.recipes.camera.pipeline import PipelineScore, score_pipeline
    from melies.report.table import metric_cells

    arguments = read_arguments(
        Score[PipelineScore], argv, verb="camera dataset score", about=SCORED, examples=SCORED_BY
    )
    record = score_pipeline(
        arguments.settings,
        arguments.out,
        command=command_line(sys.argv),
        progress=arguments.output.progress,
    )
    cells = metric_cells([record])
    return Answer(
        data={"out": arguments.out, "metrics": [metric._asdict() for metric in record.metrics]},
        show=[table(cells.header, cells.rows), "", f"{record.name}, written to {place(arguments.out)}"],
    )


def set_answer(folder: Path, found: dict, *, asked: bool) -> Answer:
    """What a set holds, as a table."""
    motions = ", ".join(f"{count:,} of {number}" for number, count in found["motions"].items())
    rows = [
        (
            f"{found['samples']:,}",
            f"{found['frames']:,}",
            f"{found['hours']:.2f}",
            f"{found['captions']:,}",
            f"{found['vocabulary']:,}",
            motions,
        )
    ]
    header = ("samples", "frames", "hours", "captions", "vocabulary", "motions of the camera")
    return Answer(
        data={"folder": folder, **found}, show=[table(header, rows), "", f"in {place(folder)}"], asked=asked
    )
