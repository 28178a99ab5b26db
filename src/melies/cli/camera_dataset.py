"""`melies camera dataset`: sets of camera paths with their characters and captions."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from melies.cli.output import Answer, Output, place, table
from melies.cli.read import bare_arg, read_arguments

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
