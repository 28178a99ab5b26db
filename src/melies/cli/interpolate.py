"""`melies interpolate`: the way from one picture to another through a model's latents."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from melies.cli.output import Answer, Output, place
from melies.cli.read import bare_arg, read_arguments

ABOUT = (
    "Draw the pictures that lie between two others in the latents of a model of any family: a PNG each, and a"
    " strip of them all. Gaussian latents of unit scale are mixed along the sphere on which they lie, others"
    " on the straight way, unless --mix says otherwise."
)
EXAMPLES = (
    "melies interpolate cat.png dog.png --model runs/vae --steps 8",
    "melies interpolate boot.png bag.png --model runs/cvae --class ankle-boot bag --mix linear",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpolate:
    """From what, to what, and through what."""

    first: Annotated[Positional[Path], arg(metavar="A.png")]
    """The picture that the way begins with."""
    second: Annotated[Positional[Path], arg(metavar="B.png")]
    """The picture that it ends with."""
    model: Annotated[str, bare_arg(metavar="MODEL")]
    """Name of a model, or the path of a checkpoint or a run."""
    steps: int = 8
    """Pictures on the way, both ends included."""
    mix: Annotated[
        str | None, bare_arg(metavar="NAME", help="How latents are mixed: linear or spherical.")
    ] = None
    classes: Annotated[tuple[str, ...], bare_arg(name="class", metavar="NAME…")] = ()
    """What the two show, for a model of classes: one for both, or one each."""
    batch: int = 64
    """Pictures at once; fewer need less memory."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("out")
    """Where the pictures go; nothing there is overwritten."""
    output: Annotated[Output, arg(name="")] = Output()


def interpolate(argv: Sequence[str]) -> Answer:
    """Read the arguments and draw the way."""
    arguments = read_arguments(Interpolate, argv, verb="interpolate", about=ABOUT, examples=EXAMPLES)

    from melies.config import check_range
    from melies.images.rebuild import interpolate_files

    check_range("steps", arguments.steps, low=2, high=1_000)
    check_range("batch", arguments.batch, low=1, high=4_096)
    report = interpolate_files(
        arguments.model,
        arguments.first,
        arguments.second,
        arguments.out,
        num_steps=arguments.steps,
        mixing=arguments.mix,
        classes=arguments.classes,
        batch_size=arguments.batch,
        progress=arguments.output.progress,
    )
    count = len(report.pictures)
    return Answer(
        data={
            "pictures": list(report.pictures),
            "strip": report.strip,
            "mix": report.mixing,
            "seconds": round(report.seconds, 3),
            "notes": list(report.notes),
        },
        show=[f"{count} pictures, {report.mixing}, all on {place(report.strip)} ({report.seconds:.1f} s)"],
        asked=False,
        notes=[f"note: {note}" for note in report.notes],
    )
