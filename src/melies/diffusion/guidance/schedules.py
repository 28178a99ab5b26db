"""Guidance weights ω(t) over a run, as curves, and the schedules of guidance scales made of them.

A curve gives ω, where 0 is off; a schedule gives the scale of u + scale·(c − u), where 1 is off:

    with_weights(equal_area(Curve(shape=linear, omega=6.5)))      scale = 1 + ω(t), of mean 7.5

`Curve` is a formula as it is printed, so that its area is whatever it is; `equal_area` wraps it so
that the mean over the steps is ω, as in Wang et al. (2024), "Analysis of Classifier-Free Guidance
Weight Schedulers", which makes shapes comparable. `melies.diffusion.guidance.named` builds them by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from melies.config import check_range
from melies.diffusion.guidance.bind import in_window, scale_table
from melies.diffusion.guidance.shapes import CLOCKS, Shape
from melies.errors import UserError, choose
from melies.interfaces import Schedule

Grid: TypeAlias = Float[Tensor, " n"]
Weights: TypeAlias = Float[Tensor, " steps"]


@runtime_checkable
class WeightCurve(Protocol):
    """ω(t) of a run: one weight per step, 0 = off, the first denoising step first."""

    def weights(self, sigmas: Grid) -> Weights:
        """ω of every step, float64, at least 0."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """max(floor, ω·shape(u)): a formula as printed, with no normalisation."""

    shape: Shape
    """Relative weight at u = t/T; one of `melies.diffusion.guidance.shapes`, or any function."""
    omega: float
    """The weight ω, at least 0."""
    floor: float = 0.0
    """Weights are at least this: the c of the clamped shapes."""
    clock: str = "step"
    """What u counts: a name in `shapes.CLOCKS`."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_range("omega", self.omega, low=0.0)
        check_range("floor", self.floor, low=0.0)
        choose(self.clock, CLOCKS, "clock")

    def weights(self, sigmas: Grid) -> Weights:
        """ω of every step, float64.

        Raises:
            UserError: If the shape gives a number that is negative or not finite.
            ValueError: If it gives not one number per step.
        """
        return (self.omega * self.relative(sigmas)).clamp(min=self.floor)

    def relative(self, sigmas: Grid) -> Weights:
        """The shape of every step; errors as of `weights`."""
        u = CLOCKS[self.clock](sigmas)
        values = torch.as_tensor(self.shape(u), dtype=torch.float64)
        if values.shape != u.shape:
            raise ValueError(f"the shape gave {tuple(values.shape)} for {len(u)} steps")
        _check(values)
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualArea:
    """A curve at the gain at which the mean over the steps is its ω; made by `equal_area`."""

    curve: Curve
    """What is normalised."""

    def weights(self, sigmas: Grid) -> Weights:
        """ω of every step, float64, of mean ω; a floor stays where it is and the rest gives way.

        Raises:
            UserError: If the curve is 0 at every step, or its floor is above ω.
        """
        omega, floor, shape = self.curve.omega, self.curve.floor, self.curve.relative(sigmas)
        if floor > omega:
            raise UserError(
                f"a floor of {floor:g} leaves no mean of {omega:g}",
                remedy="take a larger omega, a lower floor, or the curve as it is written",
            )
        if not bool((shape > 0).any()):
            raise UserError(
                f"the shape is 0 at each of {len(shape)} steps, so that no gain gives it an area",
                remedy="take more steps",
            )
        above = shape > 0
        while True:  # a floor holds ever more steps, so this ends; without one the first round is the last
            free = omega * len(shape) - floor * int((~above).sum())
            gain = free / float(shape[above].sum())
            held = above & (gain * shape >= floor)
            if bool((held == above).all()) or not bool(held.any()):
                return (gain * shape).clamp(min=floor)
            above = held


def equal_area(curve: Curve) -> EqualArea:
    """The same shape with the area of static guidance: the mean over the steps is ω (Wang et al. 2024).

    The measure is the step, not the clock: it is the sum of what the sampler applies.
    """
    return EqualArea(curve=curve)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A curve without guidance in one part of the run: the ablation of Wang et al. (2024)."""

    curve: WeightCurve
    """The rest stays as it is."""
    low: float
    """End of the part, in u, which falls from 1 to 0."""
    high: float
    """Its start; both ends are part of it."""
    clock: str = "step"
    """What u counts: a name in `shapes.CLOCKS`."""

    def __post_init__(self) -> None:
        """Check the ends."""
        check_range("low", self.low, low=0.0, high=1.0)
        check_range("high", self.high, low=0.0, high=1.0)
        choose(self.clock, CLOCKS, "clock")
        if self.low > self.high:
            raise UserError(
                f"the interval from {self.low:g} to {self.high:g} has its ends swapped",
                remedy=f"give {self.high:g} {self.low:g}",
            )

    def weights(self, sigmas: Grid) -> Weights:
        """ω of every step, 0 in the part that is removed."""
        u = CLOCKS[self.clock](sigmas)
        inside = (u >= self.low) & (u <= self.high)
        return self.curve.weights(sigmas).masked_fill(inside, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Any list of weights, the first denoising step first."""

    values: tuple[float, ...]
    """One per step."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        _check(torch.tensor(self.values, dtype=torch.float64))

    def weights(self, sigmas: Grid) -> Weights:
        """The list.

        Raises:
            UserError: If it is not as long as the run.
        """
        if len(self.values) != len(sigmas) - 1:
            raise UserError(
                f"{len(self.values)} weights for {len(sigmas) - 1} steps", remedy="give one per step"
            )
        return torch.tensor(self.values, dtype=torch.float64)


def listed(values: Sequence[float]) -> Listed:
    """A list of weights as a curve."""
    return Listed(values=tuple(float(value) for value in values))


@dataclass(frozen=True, slots=True, kw_only=True)
class OneLiner:
    """The tutorial's `w = max(1, w0*2*t/T)` for t in range(1, T), where a run of T − 1 steps counts up.

    `clamp-linear` with c = 1 as written, but for the clock, which begins and ends one step inside;
    computed in the order of the slide, so that the numbers are the same to the last digit.
    """

    omega: float
    """The slide's w0."""

    def __post_init__(self) -> None:
        """Check the number."""
        check_range("omega", self.omega, low=0.0)

    def weights(self, sigmas: Grid) -> Weights:
        """The slide's w of every step."""
        T = len(sigmas)  # noqa: N806 - the slide's name
        return torch.tensor([max(1, self.omega * 2 * t / T) for t in range(1, T)], dtype=torch.float64)


# Schedules


@dataclass(frozen=True, slots=True, kw_only=True)
class WithWeights:
    """The scale 1 + ω(t) of a curve; made by `with_weights`."""

    curve: WeightCurve
    """ω(t)."""

    def on(self, sigmas: Grid) -> Weights:
        """The scale of every step."""
        return 1 + self.curve.weights(sigmas)


@dataclass(frozen=True, slots=True, kw_only=True)
class WithScales:
    """The scale ω(t) itself; made by `with_scales`."""

    curve: WeightCurve
    """ω(t)."""

    def on(self, sigmas: Grid) -> Weights:
        """The scale of every step."""
        return self.curve.weights(sigmas)


def with_weights(curve: WeightCurve) -> WithWeights:
    """ω as the w of (1 + w)·c − w·u, the tutorial's code: 0 is off, and the run is never unconditional."""
    return WithWeights(curve=curve)


def with_scales(curve: WeightCurve) -> WithScales:
    """ω as the scale of u + ω·(c − u), the tutorial's formulas: 1 is off, and 0 is unconditional."""
    return WithScales(curve=curve)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitedInterval:
    """A schedule in a range of noise levels, and off outside: by the condition alone, or as it is told.

    Source: Kynkäänniemi et al. (2024), "Applying guidance in a limited interval of noise levels".
    """

    scale: float | Schedule
    """Inside the interval."""
    low: float
    """σ_lo, in units of x0: guidance is off at it and below."""
    high: float
    """σ_hi: guidance is off above it; infinite for none."""
    outside: float = 1.0
    """The scale outside: 1 is the condition alone; where 0 is off, as of a classifier, 0."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not isinstance(self.scale, Schedule):
            check_range("scale", self.scale)
        check_range("outside", self.outside)
        in_window(torch.ones(2), self.low, self.high)

    def on(self, sigmas: Grid) -> Weights:
        """The scale of every step."""
        inside = in_window(sigmas, self.low, self.high)
        scales = scale_table(self.scale, sigmas)[0]
        return torch.where(inside, scales, torch.full_like(scales, self.outside))


def _check(values: Tensor) -> None:
    if not bool((values.isfinite() & (values >= 0)).all()):
        raise UserError(f"guidance weights must be finite and at least 0, got {values.tolist()}")
