"""`melies evaluate MODEL`: measure a model, write the record, show its numbers."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from tyro.conf import arg

from melies.cli.output import Answer, Output, place, table
from melies.cli.read import bare_arg, read_arguments
from melies.errors import UserError
from melies.machine import command_line

Settings = TypeVar("Settings")

ABOUT = (
    "Measure a model (its name, or the path of a checkpoint) against real pictures, each number with its 95 %"
    " interval and what it reads of real pictures. The record and its figures go into --out.\n\n"
    "Of any family: Fréchet and kernel distance, precision, recall, density, coverage; Vendi score and"
    " distance of pairs; what an independent classifier sees: agreement with the prompts or classes,"
    " inception-style score, least frequent class; copies of training pictures, and detail. Of autoencoders"
    " also PSNR and SSIM of reconstructions and the gap to training pictures; active units, KL and"
    " importance-weighted likelihood of a VAE; use and perplexity of a codebook."
)
EXAMPLES = (
    "melies evaluate emoji",
    "melies evaluate runs/mine --data my-pictures.zip --out runs/mine/measured",
    "melies evaluate runs/cifar10 --features inception --weights pt_inception-2015-12-05-6726825d.pth",
)


@dataclass(frozen=True, kw_only=True)
class Evaluate(Generic[Settings]):
    """What to measure, and where to write."""

    settings: Annotated[Settings, arg(name="")]
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("out/evaluation")
    """Where the record and its figures go."""
    allow_download: Annotated[bool, bare_arg()] = False
    """Fetch the weights of the text encoder from the Hugging Face hub where they are not here."""
    output: Annotated[Output, arg(name="")] = Output()


def evaluate(argv: Sequence[str]) -> Answer:
    """Read the arguments and measure."""
    from melies.images.evaluate import EvaluateSettings, evaluate_files

    words = list(argv)
    if words and not words[0].startswith("-"):
        words.insert(0, "--model")
    elif not any(word in ("-h", "--help", "--model") for word in words):
        late = next((word for word in words if not word.startswith("-")), None)
        raise UserError(
            "no model given" if late is None else f"the model comes first, and {words[0]!r} is none",
            remedy="melies evaluate emoji; `melies models` lists them",
        )
    arguments = read_arguments(
        Evaluate[EvaluateSettings], words, verb="evaluate", about=ABOUT, examples=EXAMPLES
    )
    record = evaluate_files(
        arguments.settings,
        arguments.out,
        command=command_line(sys.argv),
        allow_download=arguments.allow_download,
        progress=arguments.output.progress,
        say=arguments.output.say,
    )
    return _answer(record, arguments.out)


def _answer(record: Any, out: Path) -> Answer:
    from melies.report.table import metric_cells

    data = {field.name: getattr(record, field.name) for field in fields(record)}
    data["metrics"] = [metric._asdict() for metric in record.metrics]
    cells = metric_cells([record])
    return Answer(
        data={"out": out, **data},
        show=[table(cells.header, cells.rows), "", f"{record.name}, written to {place(out)}"],
    )
