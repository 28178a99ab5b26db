"""`melies guidance schedule`: how guidance changes over a run, in numbers and as a plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from melies.cli.output import Answer, Output, place, table
from melies.cli.read import bare_arg, read_arguments
from melies.config import check_range
from melies.diffusion import GRIDS, SCHEDULES
from melies.errors import choose

ABOUT = (
    "List the guidance weight ω(t) and the guidance scale of every step of a run, the first denoising step"
    " first. The mean of the weights is ω, so that schedules can be compared, unless --as-written asks for"
    " the formula as it is printed. The scale is 1 + ω(t), so that a weight of 0 is the condition without"
    " guidance; with --as-scale the scale is ω(t) itself, and 0 is without the condition.\n\n"
    f"Schedules: {', '.join(SCHEDULES)}. The clamped ones take their floor c, pcs takes its power s."
)
EXAMPLES = (
    "melies guidance schedule linear --omega 7.5 --steps 50 --json",
    "melies guidance schedule clamp-linear:2 --omega 6.5 --as-written --out clamp-linear.png",
    "melies guidance schedule static --omega 3 --remove 0.8 1",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleArguments:
    """Which schedule, on what run."""

    name: Annotated[Positional[str], bare_arg(metavar="NAME[:PARAMETER]")]
    """The schedule."""
    omega: float = 7.5
    """The weight ω."""
    steps: int = 50
    """Steps of the run."""
    as_written: Annotated[bool, bare_arg()] = False
    """The formula as printed, whatever its mean."""
    as_scale: Annotated[bool, bare_arg()] = False
    """ω is the scale itself, not scale − 1."""
    clock: Annotated[
        str, arg(metavar="NAME", help="What t/T counts: step, log-snr, sigma or time (of DDPM).")
    ] = "step"
    remove: Annotated[tuple[float, float] | None, bare_arg(metavar="LOW HIGH")] = None
    """Part of the run without guidance, in t/T, which falls from 1 to 0."""
    grid: Annotated[
        str, arg(metavar="NAME", help=f"How the noise levels are spaced: {', '.join(GRIDS)}.")
    ] = "karras"
    sigma_min: float = 0.01
    """Last noise level."""
    sigma_max: float = 80.0
    """First noise level."""
    out: Annotated[Path | None, bare_arg(metavar="PNG")] = None
    """Plot the scale over the steps into this file."""
    output: Annotated[Output, arg(name="")] = Output()


def schedule(argv: Sequence[str]) -> Answer:
    """Read the arguments and list."""
    arguments = read_arguments(
        ScheduleArguments, argv, verb="guidance schedule", about=ABOUT, examples=EXAMPLES
    )
    choose(arguments.name.partition(":")[0], SCHEDULES, "schedule")
    grid = choose(arguments.grid, GRIDS, "grid")
    check_range("steps", arguments.steps, low=1, high=10_000)

    from melies.diffusion.guidance.show import schedules_figure, show_schedule
    from melies.optional import import_from

    shown = show_schedule(
        arguments.name,
        arguments.omega,
        import_from(grid)(arguments.steps, arguments.sigma_min, arguments.sigma_max),
        clock=arguments.clock,
        as_written=arguments.as_written,
        as_scale=arguments.as_scale,
        remove=arguments.remove,
    )
    if arguments.out is not None:
        from melies.files import write_bytes
        from melies.report.png import png_bytes

        write_bytes(arguments.out, png_bytes(schedules_figure({arguments.name: shown})))
    rows = [
        (str(step), f"{weight:.4g}", f"{scale:.4g}")
        for step, (weight, scale) in enumerate(zip(shown.weights, shown.scales, strict=True), 1)
    ]
    said = f"{shown.name}, {shown.normalisation}, clock {shown.clock}, mean weight {shown.mean:.4g}"
    return Answer(
        data={
            "name": shown.name,
            "omega": shown.omega,
            "steps": arguments.steps,
            "clock": shown.clock,
            "normalisation": shown.normalisation,
            "convention": shown.convention,
            "mean": shown.mean,
            "weights": list(shown.weights),
            "scales": list(shown.scales),
            "plot": arguments.out,
        },
        show=[
            table(("step", "weight", "scale"), rows),
            "",
            said + (f"; plotted in {place(arguments.out)}" if arguments.out else ""),
        ],
    )
