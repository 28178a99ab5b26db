"""`melies generate`: draw pictures, or draw one again from its own settings."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from melies.cli.output import Answer, Output, place
from melies.cli.read import bare_arg, read_arguments
from melies.diffusion import GRIDS, METHODS, SAMPLERS, SCHEDULES
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
    "melies generate --from out/a-polar-bear-7.png --out again",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """What to draw, how, and where to."""

    prompts: Annotated[Positional[tuple[str, ...]], bare_arg(metavar="PROMPT…")] = ()
    """What to draw, in words; one row of pictures each. Words after `--` are prompts too."""
    classes: Annotated[tuple[str, ...], bare_arg(name="class", metavar="NAME…")] = ()
    """Classes to draw, for a model that has classes."""
    negative: Annotated[str, bare_arg(metavar="WORDS")] = ""
    """What the pictures should not be."""
    count: int = 4
    """Pictures per prompt."""
    scale: float = 4.0
    """Guidance scale: how closely to follow the words; 1 is off."""
    guidance: Annotated[
        str, arg(metavar="NAME[:PARAMETER]", help=f"The way of guiding: {', '.join(METHODS)}.")
    ] = "plain"
    schedule: Annotated[
        str,
        arg(
            metavar="NAME[:PARAMETER]",
            help=f"How guidance changes over the run, at the same mean: {', '.join(SCHEDULES)}.",
        ),
    ] = "static"
    interval: Annotated[tuple[float, float] | None, bare_arg(metavar="LOW HIGH")] = None
    """Noise levels σ between which guidance is on; the condition alone elsewhere, which is quicker."""
    steps: int = 25
    """Steps of the sampler; more are slower and finer."""
    sampler: Annotated[
        str, arg(metavar="NAME", help=f"How the noise is taken away: {', '.join(SAMPLERS)}.")
    ] = "dpmpp"
    grid: Annotated[
        str, arg(metavar="NAME", help=f"How the noise levels are spaced: {', '.join(GRIDS)}.")
    ] = "karras"
    eta: float = 0.0
    """Fresh noise of the sampler ddim: 0 none, 1 as much as ddpm."""
    seed: int = 0
    """Seed of the first picture of every prompt; the next has seed + 1."""
    init: Annotated[str | None, bare_arg(metavar="PICTURE")] = None
    """Picture to start from."""
    strength: float = 0.6
    """How far the starting picture is changed: near 0 hardly, 1 not kept at all."""
    mask: Annotated[str | None, bare_arg(metavar="PICTURE")] = None
    """Picture whose white part is painted anew; the rest of --init is kept."""
    model: Annotated[str, arg(metavar="MODEL")] = "emoji"
    """Name of a model (see `melies models`), path of a checkpoint, or diffusers:PATH of a pipeline."""
    weak: Annotated[str | None, bare_arg(metavar="MODEL")] = None
    """Weaker model of the same pictures, for --guidance autoguidance."""
    classifier: Annotated[str | None, bare_arg(metavar="MODEL")] = None
    """Classifier of noisy pictures, for --guidance classifier; there a --scale of 0 is off."""
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
