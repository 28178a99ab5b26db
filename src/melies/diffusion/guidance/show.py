"""A schedule in numbers and as a plot, before anything is drawn with it."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from melies.diffusion import SCHEDULES
from melies.diffusion.guidance.named import named, named_equal_area
from melies.diffusion.guidance.schedules import Removed, WeightCurve, with_scales, with_weights
from melies.report.plot import Line, lines_figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One schedule on one grid."""

    name: str
    """As it was asked for, with its parameter."""
    omega: float
    """The weight ω."""
    clock: str
    """What t/T counts."""
    normalisation: str
    """"equal-area" or "as-written"."""
    convention: str
    """"weight": scale = 1 + ω(t); "scale": scale = ω(t)."""
    weights: tuple[float, ...]
    """ω(t) of every step, the first denoising step first."""
    scales: tuple[float, ...]
    """The scale s of u + s·(c − u) of every step; 1 is off."""
    mean: float
    """Of the weights."""


def show_schedule(
    name: str,
    omega: float,
    sigmas: Float[Tensor, " n"],
    *,
    clock: str = "step",
    as_written: bool = False,
    as_scale: bool = False,
    remove: tuple[float, float] | None = None,
) -> Shown:
    """The numbers of a schedule.

    Args:
        name: `NAME` or `NAME:parameter` of `melies.diffusion.SCHEDULES`.
        omega: The weight ω.
        sigmas: The grid of the run.
        clock: A name in `shapes.CLOCKS`.
        as_written: The printed formula; else the mean over the steps is ω.
        as_scale: Whether ω is the scale itself, rather than scale − 1.
        remove: The part without guidance, low and high in t/T.

    Raises:
        UserError: If a name is unknown or a number is out of range.
    """
    curve: WeightCurve = (named if as_written else named_equal_area)(name, omega, clock=clock)
    written = as_written or SCHEDULES[name.partition(":")[0]] == SCHEDULES["one-liner"]
    if remove is not None:
        curve = Removed(curve=curve, low=remove[0], high=remove[1], clock=clock)
    weights = curve.weights(sigmas).tolist()
    return Shown(
        name=name,
        omega=omega,
        clock=clock,
        normalisation="as-written" if written else "equal-area",
        convention="scale" if as_scale else "weight",
        weights=tuple(weights),
        scales=tuple((with_scales if as_scale else with_weights)(curve).on(sigmas).tolist()),
        mean=sum(weights) / len(weights),
    )


def schedules_figure(shown: Mapping[str, Shown]) -> Image.Image:
    """Scales over the steps, one line for each schedule by the name that the legend gives."""
    lines = {
        name: Line(x=list(range(1, len(one.scales) + 1)), y=list(one.scales)) for name, one in shown.items()
    }
    return lines_figure(lines, x="denoising step", y="guidance scale")
