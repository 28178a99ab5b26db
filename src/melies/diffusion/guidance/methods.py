"""The ways of guiding of `melies.diffusion.METHODS`: each is built from a scale and at most one number."""

import inspect

from melies.diffusion import METHODS
from melies.diffusion.guidance.attention import PerturbedAttention, SmoothedEnergy
from melies.diffusion.guidance.autoguidance import Autoguidance
from melies.diffusion.guidance.bind import Scale
from melies.diffusion.guidance.classifier import ClassifierGuidance
from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance, Unguided
from melies.diffusion.guidance.frequency import FrequencyDecoupled
from melies.diffusion.guidance.named import named_equal_area, read_named
from melies.diffusion.guidance.negative import PerpendicularNegative, SignedNegative, WindowedNegative
from melies.diffusion.guidance.plus_plus import PlusPlus
from melies.diffusion.guidance.projected import Projected
from melies.diffusion.guidance.rescaled import Rescaled
from melies.diffusion.guidance.schedules import (
    LimitedInterval,
    Removed,
    WeightCurve,
    with_scales,
    with_weights,
)
from melies.diffusion.guidance.zero_star import ZeroStar
from melies.errors import UserError
from melies.interfaces import Guidance

STRENGTHS = {
    "frequency": ("fine", 1.0),
    "perturbed": ("strength", 0.0),
    "smoothed": ("strength", 0.0),
    "signed": ("weight", 0.0),
    "perpendicular": ("weight", 0.0),
}
"""Methods that guide by their parameter even at scale 1: its name, and the number at which it is off."""


def guidance_of(
    method: str,
    scale: float,
    *,
    schedule: str = "static",
    interval: tuple[float, float] | None = None,
    removed: tuple[float, float] | None = None,
) -> Guidance:
    """Guidance by name, of a mean scale, on a schedule of equal area, in an interval of noise levels.

    Args:
        method: `NAME` or `NAME:parameter` of `melies.diffusion.METHODS`.
        scale: The mean over the run, inside the interval or not; of CFG++ the mean of its λ, and of
            classifier guidance that of γ, where 0 is off.
        schedule: `NAME` or `NAME:parameter` of `melies.diffusion.SCHEDULES`.
        interval: σ_lo and σ_hi between which guidance is on, with a strength that it has beside its scale.
        removed: Part of the run without guidance, low and high in t/T, which falls from 1 to 0; the rest
            stays as it is, so that the mean falls.

    Raises:
        UserError: If a name is unknown, a number is out of range, or what is asked does not go together.
    """
    make, parameter = read_named(method, METHODS, "guidance")
    if make is plus_plus and (interval is not None or removed is not None):
        raise UserError("CFG++ has no scale at which it is off", remedy="leave the interval out")

    def over_the_run(mean: float, off: float, schedule: str) -> Scale:
        scales: Scale = mean
        if schedule != "static" or removed is not None:
            if mean < off:
                raise UserError(
                    f"the schedule {schedule!r} starts from scale {off:g} and cannot have the mean {mean:g}",
                    remedy=f"give a scale of at least {off:g}",
                )
            curve: WeightCurve = named_equal_area(schedule, mean - off)
            if removed is not None:
                curve = Removed(curve=curve, low=removed[0], high=removed[1])
            scales = with_weights(curve) if off else with_scales(curve)
        if interval is not None:
            scales = LimitedInterval(scale=scales, low=interval[0], high=interval[1], outside=off)
        return scales

    beside = STRENGTHS.get(method.partition(":")[0])
    if beside is not None and not (interval is None and removed is None):
        name, off = beside
        (strength,) = parameter or (inspect.signature(make).parameters[name].default,)
        parameter = (over_the_run(strength, off, "static"),)
    off = 0.0 if make in (plus_plus, classifier, classifier_mean_shift) else 1.0
    return make(over_the_run(scale, off, schedule), *parameter)


def plain(scale: Scale) -> ClassifierFreeGuidance:
    """Classifier-free guidance."""
    return ClassifierFreeGuidance(scale=scale)


def plus_plus(scale: Scale) -> PlusPlus:
    """CFG++; its scale is λ, from 0 to 1."""
    return PlusPlus(scale=scale)


def zero_star(scale: Scale, steps: float = 1) -> ZeroStar:
    """CFG-Zero*; the parameter is the number of steps that stand still."""
    if steps != int(steps):
        raise UserError(f"zero-star stands still for whole steps, not {steps:g}")
    return ZeroStar(scale=scale, zero_steps=int(steps))


def projected(scale: Scale, share: float = 0.0) -> Projected:
    """Projected guidance; the parameter is the share of the parallel part that is kept."""
    return Projected(scale=scale, parallel_share=share)


def rescaled(scale: Scale, share: float = 0.7) -> Rescaled:
    """Rescaled guidance; the parameter is φ."""
    return Rescaled(scale=scale, share=share)


def frequency(scale: Scale, fine: Scale) -> FrequencyDecoupled:
    """Frequency-decoupled guidance; the parameter is the scale of fine detail, `scale` that of the rest."""
    return FrequencyDecoupled(scales=(fine, scale))


def perturbed(scale: Scale, strength: Scale = 1.0) -> PerturbedAttention:
    """Perturbed-attention guidance of all layers; the parameter is its strength."""
    return PerturbedAttention(scale=scale, strength=strength)


def smoothed(scale: Scale, strength: Scale = 1.0) -> SmoothedEnergy:
    """Smoothed-energy guidance of all layers, with an infinite blur; the parameter is its strength."""
    return SmoothedEnergy(scale=scale, strength=strength)


def autoguidance(scale: Scale) -> Autoguidance:
    """Autoguidance."""
    return Autoguidance(scale=scale)


def signed(scale: Scale, weight: Scale = 1.0) -> SignedNegative:
    """A signed negative; the parameter is its weight."""
    return SignedNegative(scale=scale, weight=weight)


def perpendicular(scale: Scale, weight: Scale = 1.0) -> PerpendicularNegative:
    """A perpendicular negative; the parameter is its weight."""
    return PerpendicularNegative(scale=scale, weight=weight)


def windowed(scale: Scale, high: float) -> WindowedNegative:
    """A negative in place of the null at low noise; the parameter is the σ below which it counts."""
    return WindowedNegative(scale=scale, high=high)


def classifier(scale: Scale, beside: float = 0.0) -> ClassifierGuidance:
    """Classifier guidance; the parameter is the scale of classifier-free guidance beside it.

    At 0 the model is asked for no class, at 1 it is told the class, above that it is guided to it too.
    """
    return ClassifierGuidance(scale=scale, base=_beside(beside))


def classifier_mean_shift(scale: Scale, beside: float = 0.0) -> ClassifierGuidance:
    """The same by a shift of the mean of DDPM's steps."""
    return ClassifierGuidance(scale=scale, base=_beside(beside), form="mean-shift")


def _beside(scale: float) -> Guidance:
    if scale in (0, 1):  # one branch, of which no negative could take the place
        return Unguided(branch="conditional" if scale else "null")
    return ClassifierFreeGuidance(scale=scale)
