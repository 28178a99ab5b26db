"""The schedules of `melies.diffusion.SCHEDULES`: each builds a curve of weights from ω, as written."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from melies.config import check_positive
from melies.diffusion import SCHEDULES
from melies.diffusion.guidance import shapes
from melies.diffusion.guidance.schedules import Curve, OneLiner, WeightCurve, equal_area
from melies.errors import UserError, choose
from melies.optional import import_from


def named(text: str, omega: float, *, clock: str = "step") -> WeightCurve:
    """The curve that `NAME` or `NAME:parameter` means, as written.

    Args:
        text: A name of `melies.diffusion.SCHEDULES`; the parameter is c of the clamped shapes and s
            of pcs.
        omega: The weight ω.
        clock: What u counts: a name in `shapes.CLOCKS`.

    Raises:
        UserError: If the name or the clock is unknown, or a number is out of range.
    """
    make, parameter = read_named(text, SCHEDULES, "schedule")
    if "clock" in inspect.signature(make).parameters:
        return make(omega, *parameter, clock=clock)
    if clock != "step":
        raise UserError(f"the schedule {text!r} counts steps", remedy="take --clock step")
    return make(omega, *parameter)


def read_named(
    text: str, table: Mapping[str, str], kind: str
) -> tuple[Callable[..., Any], tuple[float, ...]]:
    """The function that `NAME` or `NAME:parameter` means, and the parameter where one is given.

    Args:
        text: What was asked for.
        table: `"module:function"` by name; each takes one thing, a parameter if any, then keywords only.
        kind: What the table holds, for errors.

    Raises:
        UserError: If the name is unknown, or the parameter no number, not taken, or missing.
    """
    name, _, given = text.partition(":")
    make = import_from(choose(name, table, kind))
    positional = [
        taken for taken in inspect.signature(make).parameters.values() if taken.kind is not taken.KEYWORD_ONLY
    ]
    if given and len(positional) < 2:
        raise UserError(f"the {kind} {name!r} takes no parameter", remedy=f"give {name} alone")
    if not given and len(positional) == 2 and positional[1].default is positional[1].empty:
        raise UserError(f"the {kind} {name!r} needs a parameter", remedy=f"give {name}:NUMBER")
    if not given:
        return make, ()
    try:
        return make, (float(given),)
    except ValueError:
        raise UserError(f"{given!r} is not a number", where=f"{kind} {text}") from None


def named_equal_area(text: str, omega: float, *, clock: str = "step") -> WeightCurve:
    """As `named`, of mean ω over the steps; the one-liner, whose point is its digits, stays as written."""
    curve = named(text, omega, clock=clock)
    return equal_area(curve) if isinstance(curve, Curve) else curve


def static(omega: float, *, clock: str = "step") -> Curve:
    """ω all along."""
    return Curve(shape=shapes.static, omega=omega, clock=clock)


def linear(omega: float, *, clock: str = "step") -> Curve:
    """ω·(1 − u), rising."""
    return Curve(shape=shapes.linear, omega=omega, clock=clock)


def invlinear(omega: float, *, clock: str = "step") -> Curve:
    """ω·u, falling."""
    return Curve(shape=shapes.invlinear, omega=omega, clock=clock)


def cosine(omega: float, *, clock: str = "step") -> Curve:
    """ω·(cos(πu) + 1), rising."""
    return Curve(shape=shapes.cosine, omega=omega, clock=clock)


def sine(omega: float, *, clock: str = "step") -> Curve:
    """ω·(sin(πu − π/2) + 1), falling."""
    return Curve(shape=shapes.sine, omega=omega, clock=clock)


def v(omega: float, *, clock: str = "step") -> Curve:
    """ω·max(u, 1 − u), dips in the middle."""
    return Curve(shape=shapes.v, omega=omega, clock=clock)


def lambda_(omega: float, *, clock: str = "step") -> Curve:
    """ω·min(u, 1 − u), peaks in the middle."""
    return Curve(shape=shapes.lambda_, omega=omega, clock=clock)


def clamp_linear(omega: float, c: float = 1.0, *, clock: str = "step") -> Curve:
    """max(c, 2ω·(1 − u)), rising from a floor; as written its mean is about ω + c²/(4ω)."""
    return Curve(shape=shapes.doubled_linear, omega=omega, floor=c, clock=clock)


def clamp_cosine(omega: float, c: float = 1.0, *, clock: str = "step") -> Curve:
    """max(c, ω·(cos(πu) + 1)), rising from a floor."""
    return Curve(shape=shapes.cosine, omega=omega, floor=c, clock=clock)


def pcs(omega: float, s: float = 1.0, *, clock: str = "step") -> Curve:
    """ω·(1 − cos(π(1 − u)^s))/2, rising, the later the larger s; as written its mean is below ω."""
    check_positive("s", s)
    return Curve(shape=shapes.powered_cosine(s), omega=omega, clock=clock)


def one_liner(omega: float) -> OneLiner:
    """max(1, 2ω·t/T), the tutorial's line of code with its own count of steps."""
    return OneLiner(omega=omega)
