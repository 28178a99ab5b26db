"""`melies guidance trace`: draw a few pictures, and say step by step what guidance did."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from melies.cli.asked import Asked
from melies.cli.output import Answer, Output, place, table
from melies.cli.read import bare_arg, read_arguments
from melies.images.settings import DrawSettings

ABOUT = (
    "Draw pictures in one batch, and the same once more without guidance, and say what guidance did at every"
    " step: its scale, the norms of what the condition and the null predict and of their difference, their"
    " cosine, what guidance added, the paper's Φ (which sees norms only) with the cosine that sees"
    " directions, and how much of the aimed picture is saturated. Where guidance had no effect it says so,"
    " and why.\n\n"
    "--out gets trace.json, trace.png with the curves, and steps.png with the picture that each step aimed"
    " at. Norms and cosines are of the noise ε."
)
EXAMPLES = (
    'melies guidance trace "a polar bear" --schedule linear --scale 7.5',
    "melies guidance trace --model runs/fashion-mnist --class bag --guidance projected --scale 4",
    'melies guidance trace "a red apple" --interval 0.3 5 --steps 40 --sampler heun --json',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace(Asked):
    """What to draw, how, and where to write."""

    count: int = 2
    """Pictures per prompt."""
    model: Annotated[str, arg(metavar="MODEL")] = "emoji"
    """Name of a model (see `melies models`), or the path of a checkpoint."""
    out: Annotated[Path, bare_arg(metavar="FOLDER")] = Path("out/trace")
    """Where the trace goes; one that is there is replaced."""
    allow_download: Annotated[bool, bare_arg()] = False
    """Fetch the weights of a text encoder that are not here from the Hugging Face hub."""
    output: Annotated[Output, arg(name="")] = Output()


SETTINGS = tuple({field.name for field in fields(DrawSettings)} & {field.name for field in fields(Trace)})
"""The arguments that are settings of the drawing."""


def trace(argv: Sequence[str]) -> Answer:
    """Read the arguments, draw and say."""
    arguments = read_arguments(Trace, argv, verb="guidance trace", about=ABOUT, examples=EXAMPLES)
    settings = DrawSettings(**{name: getattr(arguments, name) for name in SETTINGS})
    arguments.output.say(f"loading the model {settings.model}")

    from melies.recipes.guidance.trace import trace_files

    report = trace_files(
        settings,
        arguments.out,
        allow_download=arguments.allow_download,
        progress=arguments.output.progress,
    )
    found = report.trace
    rows = [
        (
            str(step.step + 1),
            *(
                "–" if number is None else f"{number:.3g}"
                for number in (
                    *(step.sigma, step.scale, step.conditional, step.other, step.difference),
                    *(step.cosine, step.added, step.conflict, step.saturated),
                )
            ),
        )
        for step in found.steps
    ]
    header = ("step", "σ", "scale", "|c|", "|u|", "|c − u|", "cosine", "added", "Φ", "saturated")
    return Answer(
        data={
            "out": report.out,
            "steps": [step._asdict() for step in found.steps],
            "warnings": list(found.warnings),
            "files": list(report.files),
            "seconds": round(report.seconds, 3),
        },
        show=[
            table(header, rows),
            "",
            *(f"warning: {warning}" for warning in found.warnings),
            f"curves and pictures are in {place(report.out)} ({report.seconds:.1f} s)",
        ],
    )
