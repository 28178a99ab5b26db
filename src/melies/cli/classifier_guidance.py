"""`melies guidance scales` and `melies guidance neighbours`: figures of classifier guidance."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from tyro.conf import arg

from melies.cli.output import Answer, Output, place, table
from melies.cli.read import bare_arg, read_arguments
from melies.machine import command_line

Settings = TypeVar("Settings")

SCALES = (
    "Draw with more and more classifier guidance, the same noise at every scale, and say what two classifiers"
    " make of it: the one that guides and a judge that does not. Where the first grows surer and the second"
    " does not, the gain is adversarial. --out gets a figure with a row for each noise and a column for each"
    " scale (scales.png; under each picture both probabilities of its class, the guiding one first), both"
    " over the scale (certainty.png), and the record with the Fréchet distance, precision and recall at each."
)
NEIGHBOURS = (
    "Draw by classifier guidance and show each picture beside the training pictures that are nearest to it in"
    " the features of a network. --out gets a figure for each scale, and a record that tells how much nearer"
    " to what was trained on they are than real pictures that were not."
)
SCALES_EXAMPLES = (
    "melies guidance scales --out runs/scales",
    "melies guidance scales --classes ankle-boot bag --scales 0 2 5 --beside 1 --count 500",
    "melies guidance scales --model runs/clothes --classifier runs/noisy/best",
)
NEIGHBOURS_EXAMPLES = (
    "melies guidance neighbours --scales 1 2.5",
    "melies guidance neighbours --model runs/clothes --classifier runs/noisy/best",
)


@dataclass(frozen=True, kw_only=True)
class Figures(Generic[Settings]):
    """What to draw, and where to write."""

    settings: Annotated[Settings, arg(name="")]
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("out/guidance")
    """Where the figures and the record go."""
    allow_download: Annotated[bool, bare_arg()] = False
    """Fetch the weights of a network of features from the Hugging Face hub where they are not here."""
    output: Annotated[Output, arg(name="")] = Output()


def scales(argv: Sequence[str]) -> Answer:
    """Read the arguments, draw at every scale, and show the numbers."""
    from melies.recipes.guidance.scales import ScalesSettings, measure_scales

    arguments = read_arguments(
        Figures[ScalesSettings], argv, verb="guidance scales", about=SCALES, examples=SCALES_EXAMPLES
    )
    return _run(measure_scales, arguments)


def neighbours(argv: Sequence[str]) -> Answer:
    """Read the arguments, draw, and show how near to training pictures the drawn ones are."""
    from melies.recipes.guidance.neighbours import NeighboursSettings, show_neighbours

    arguments = read_arguments(
        Figures[NeighboursSettings],
        argv,
        verb="guidance neighbours",
        about=NEIGHBOURS,
        examples=NEIGHBOURS_EXAMPLES,
    )
    return _run(show_neighbours, arguments)


def _run(make: Callable[..., Any], arguments: Figures[Any]) -> Answer:
    from melies.report.table import metric_cells

    record = make(
        arguments.settings,
        arguments.out,
        command=command_line(sys.argv),
        allow_download=arguments.allow_download,
        progress=arguments.output.progress,
        say=arguments.output.say,
    )
    cells = metric_cells([record])
    return Answer(
        data={
            "out": arguments.out,
            "name": record.name,
            "metrics": [metric._asdict() for metric in record.metrics],
            "data": record.data,
            "notes": record.notes,
        },
        show=[table(cells.header, cells.rows), "", f"figures and record in {place(arguments.out)}"],
    )
