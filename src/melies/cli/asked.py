"""What `melies generate` and `melies guidance trace` both ask: what to draw, by which model, guided how."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from melies.cli.read import bare_arg
from melies.diffusion import GRIDS, METHODS, SAMPLERS, SCHEDULES


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to draw, by which model, and how it is guided."""

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
    model: Annotated[str, arg(metavar="MODEL")] = "emoji"
    """Name of a model (see `melies models`), path of a checkpoint, or diffusers:PATH of a pipeline."""
    weak: Annotated[str | None, bare_arg(metavar="MODEL")] = None
    """Weaker model of the same pictures, for --guidance autoguidance."""
    classifier: Annotated[str | None, bare_arg(metavar="MODEL")] = None
    """Classifier of noisy pictures, for --guidance classifier; there a --scale of 0 is off."""
