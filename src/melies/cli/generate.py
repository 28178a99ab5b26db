"""`melies generate`: draw pictures, or draw one again from its own settings."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import UseAppendAction, arg

from melies.cli.asked import Asked
from melies.cli.output import Answer, Output, place
from melies.cli.read import bare_arg, read_arguments
from melies.errors import UserError
from melies.images.settings import DrawSettings

ABOUT = (
    "Draw pictures from words or classes, or with a model that knows neither from nothing: one PNG each,"
    " with its settings inside and beside it, and a grid."
)
EXAMPLES = (
    'melies generate "a polar bear" "a mechanic, dark skin tone" --count 8 --seed 7',
    'melies generate "a red apple, twemoji" --negative "green" --scale 6 --steps 40 --sampler heun',
    'melies generate "a green apple" --init apple.png --strength 0.5 --mask stalk.png',
    "melies generate --model runs/vqvae --class sneaker bag --count 8",
    "melies generate --model runs/clothes --guidance classifier --classifier runs/noisy/best --class bag",
    'melies generate "a polar bear" --model diffusers:stable-diffusion-v1-5 --schedule linear --scale 7.5',
    'melies generate "a bee" --control scribble=drawing.png',
    "melies generate --from out/a-polar-bear-7.png --out again",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate(Asked):
    """What to draw, how, and where to."""

    init: Annotated[str | None, bare_arg(metavar="PICTURE")] = None
    """Picture to start from."""
    strength: float = 0.6
    """How far the starting picture is changed: near 0 hardly, 1 not kept at all."""
    mask: Annotated[str | None, bare_arg(metavar="PICTURE")] = None
    """Picture whose white part is painted anew; the rest of --init is kept."""
    control: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(
            metavar="KIND=PICTURE",
            help="A hint to keep to, as `melies control extract KIND` takes it or drawn by hand; once for"
            " each. One of another size is cut to its middle square and resized, with black behind it.",
        ),
    ] = ()
    control_model: Annotated[tuple[str, ...], bare_arg(metavar="MODEL…")] = ()
    """Control branches that read the hints, one for all or one each; else the one made for --model. Beside a
    pipeline of diffusers: a folder with a ControlNet, or owner/name of the Hugging Face hub."""
    control_scale: Annotated[tuple[float, ...], arg(metavar="NUMBER…")] = (1.0,)
    """How strongly hints act, one number for all or one each; 0 is off."""
    control_window: Annotated[tuple[float, float], arg(metavar="START END")] = (0.0, 1.0)
    """Part of the steps in which hints act, as shares of the run."""
    control_interval: Annotated[tuple[float, float] | None, bare_arg(metavar="LOW HIGH")] = None
    """Noise levels σ between which hints act."""
    control_guess: Annotated[bool, bare_arg()] = False
    """Let the hints say alone what is drawn, with no prompt."""
    batch: int = 8
    """Pictures drawn at once; fewer need less memory."""
    source: Annotated[Path | None, bare_arg(name="from", metavar="PICTURE")] = None
    """Draw this picture again, from the settings inside it; goes with no other setting."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("out")
    """Where the pictures go; nothing there is overwritten."""
    allow_download: Annotated[bool, bare_arg()] = False
    """Fetch weights that are not here, of a text encoder or a pipeline, from the Hugging Face hub."""
    output: Annotated[Output, arg(name="")] = Output()


SETTINGS = tuple(field.name for field in fields(DrawSettings))
"""The arguments that are settings of the drawing."""


def generate(argv: Sequence[str]) -> Answer:
    """Read the arguments and draw."""
    arguments = read_arguments(Generate, argv, verb="generate", about=ABOUT, examples=EXAMPLES)
    if arguments.source is not None:
        return _again(arguments)
    settings = DrawSettings(**{name: getattr(arguments, name) for name in SETTINGS})
    arguments.output.say(f"loading the model {settings.model}")

    from melies.images.pictures import generate_files

    report = generate_files(
        settings,
        arguments.out,
        allow_download=arguments.allow_download,
        progress=arguments.output.progress,
        say=arguments.output.say,
    )
    return _answer(report)


def _again(arguments: Generate) -> Answer:
    plain = Generate()
    given = [name for name in SETTINGS if getattr(arguments, name) != getattr(plain, name)]
    if given:
        word = {"classes": "--class", "prompts": "a prompt"}.get(given[0], f"--{given[0]}")
        raise UserError(
            f"--from draws a picture again as it was, and {word} would change it",
            remedy="give either --from or what to draw",
        )

    from melies.images.pictures import redraw_file

    report = redraw_file(
        arguments.source,  # type: ignore[arg-type]
        arguments.out,
        allow_download=arguments.allow_download,
        progress=arguments.output.progress,
        say=arguments.output.say,
    )
    return _answer(report)


def _answer(report: Any) -> Answer:
    count = len(report.pictures)
    if report.grid is None:
        said = "\n".join(place(path) for path in report.pictures)
    else:
        said = f"{count} pictures in {place(report.grid.parent)}, all of them on {place(report.grid)}"
    cost = f"{report.seconds:.1f} s"
    if report.evaluations:
        cost += f", {report.evaluations:,} evaluations of the network in {report.calls:,} calls"
    return Answer(
        data={
            "pictures": list(report.pictures),
            "grid": report.grid,
            "seconds": round(report.seconds, 3),
            "evaluations": report.evaluations,
            "calls": report.calls,
            "notes": list(report.notes),
        },
        show=[f"{said} ({cost})"],
        asked=False,
        notes=[f"note: {note}" for note in report.notes],
    )
