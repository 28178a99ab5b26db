"""Schedules with something to tune: what their parameters are, and the guidance that values of them give."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from melies.diffusion import METHODS
from melies.diffusion.guidance.methods import guidance_of
from melies.diffusion.guidance.named import read_named
from melies.diffusion.guidance.schedules import Curve, equal_area, with_weights
from melies.errors import choose
from melies.images.model import ImageDiffusion
from melies.interfaces import Guidance

Values = tuple[float, ...]


class Parameter(NamedTuple):
    """One number to tune."""

    name: str
    low: float
    high: float
    logarithmic: bool = False
    """Whether it is searched by its logarithm."""

    def at(self, place: float) -> float:
        """The value at a place in [0, 1] of its range."""
        if self.logarithmic:
            return math.exp(math.log(self.low) + place * (math.log(self.high) - math.log(self.low)))
        return self.low + place * (self.high - self.low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A schedule and its parameters, at one mean scale."""

    parameters: tuple[Parameter, ...]
    build: Callable[[Values], Guidance]
    """Guidance of some values; a `UserError` where they cannot be together."""

    def values(self, places: Sequence[float]) -> Values:
        """The values at places in the unit cube, with the digits that are kept."""
        found = (p.at(place) for p, place in zip(self.parameters, places, strict=True))
        return tuple(float(f"{value:.6g}") for value in found)


LEAST_KNOT = 0.02
"""Of a free curve, in units of its largest: one that is 0 everywhere has no area."""


def family_of(name: str, model: ImageDiffusion, *, method: str, scale: float, knots: int = 5) -> Family:
    """A family by name, for a model, a way of guiding and a mean scale.

    Args:
        name: A name in `tune_settings.FAMILIES`; all but the interval keep the mean of the scale.
        model: Whose noise levels an interval lies in.
        method: `NAME` or `NAME:parameter` of `melies.diffusion.METHODS`.
        scale: The mean scale over the run, above 1; of the interval the scale inside.
        knots: Numbers of a free curve, evenly over the run and joined by straight lines.

    Raises:
        UserError: If a name is unknown.
    """
    low, high = model.config.sigma_min, model.config.sigma_max

    def named(values: Values) -> Guidance:
        return guidance_of(method, scale, schedule=f"{name}:{values[0]:.6g}")

    def interval(values: Values) -> Guidance:
        ends = values[0], min(values[0] * values[1], high)
        return guidance_of(method, scale, interval=ends)

    def curve(values: Values) -> Guidance:
        make, parameter = read_named(method, METHODS, "guidance")
        return make(with_weights(equal_area(Curve(shape=knotted(values), omega=scale - 1))), *parameter)

    table = {
        "clamp-linear": Family(parameters=(Parameter("c", 0.0, scale - 1),), build=named),
        "pcs": Family(parameters=(Parameter("s", 0.02, 8.0, logarithmic=True),), build=named),
        "interval": Family(
            parameters=(
                Parameter("low", low, high / 2, logarithmic=True),
                Parameter("high/low", 1.2, high / low, logarithmic=True),
            ),
            build=interval,
        ),
        "curve": Family(
            parameters=tuple(Parameter(f"knot {i + 1}", LEAST_KNOT, 1.0) for i in range(knots)),
            build=curve,
        ),
    }
    return choose(name, table, "family")


def knotted(values: Values) -> Callable[[Tensor], Tensor]:
    """The shape that goes through values at evenly spaced knots, the first at the start, where u = 1."""

    def shape(u: Tensor) -> Tensor:
        heights = torch.tensor(values, dtype=torch.float64)
        if len(values) == 1:
            return heights.expand(len(u))
        at = (1 - u.double()) * (len(values) - 1)
        left = at.floor().clamp(max=len(values) - 2).long()
        return torch.lerp(heights[left], heights[left + 1], at - left)

    return shape
