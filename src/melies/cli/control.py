"""`melies control`: take spatial conditions from pictures and videos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from melies.cli.output import Answer, Output, place
from melies.cli.read import bare_arg, read_arguments
from melies.errors import choose
from melies.images.conditions import CONDITIONS

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
