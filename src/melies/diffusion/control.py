"""Control branches beside a denoiser: one wrapper adds their residuals, and samplers stay as they are.

Zhang, Rao & Agrawala (2023), "Adding conditional control to text-to-image diffusion models". The hints
travel in the condition, so that every way of guiding hands them on with whatever it evaluates: `"hint"`
(b, k, c, h, w) or `"hint_encoded"` (b, k, d, h, w), and `"hint_kind"` (b, k), for k branches in their
order. Rows whose `"present.hint"` is False get no residuals.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from melies.config import check_range
from melies.errors import UserError
from melies.interfaces import AttentionEdit, Condition, ControlBranch, Residuals

EVERYWHERE = (0.0, math.inf)
"""The interval of noise levels that holds them all."""
GUESS_DECAY, GUESS_SPAN = 0.825, 12
"""In guess mode each residual counts so many times the next deeper one, over 13 of them."""


@runtime_checkable
class Controllable(Protocol):
    """A `Denoiser` that takes the residuals of control branches."""

    def __call__(
        self,
        x: Tensor,
        sigma: Tensor,
        condition: Condition,
        *,
        attention: AttentionEdit | None = None,
        residuals: Residuals | None = None,
    ) -> Tensor:
        """The expected x0, with the residuals inside."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One control branch, how strongly it acts, and where."""

    branch: ControlBranch
    """Gives the residuals."""
    scale: float | tuple[float, ...] = 1.0
    """What they are multiplied by: all of them, or each in the branch's order; 0 is off."""
    interval: tuple[float, float] = EVERYWHERE
    """Noise levels σ at which it acts: above the first, up to the second."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for scale in self.scale if isinstance(self.scale, tuple) else (self.scale,):
            check_range("control scale", scale, low=0, high=1_000)
        low, high = self.interval
        if not 0 <= low < high:
            raise UserError(
                f"({low:g}, {high:g}] is no interval of noise levels",
                remedy="give the lower σ first, at least 0, then the higher",
            )


class Controlled:
    """A `Denoiser` with control branches; the denoiser itself is shared, not copied."""

    def __init__(self, denoiser: Controllable, controls: Sequence[Control]) -> None:
        """Put branches beside a denoiser; their residuals are summed."""
        if not controls:
            raise ValueError("at least one control branch is needed")
        self.denoiser = denoiser
        self.controls = tuple(controls)

    def __call__(
        self,
        x: Float[Tensor, "b *event"],
        sigma: Float[Tensor, " b"],
        condition: Condition,
        *,
        attention: AttentionEdit | None = None,
    ) -> Float[Tensor, "b *event"]:
        """The expected x0, steered by the hints in the condition.

        Raises:
            ValueError: If the condition has not one hint for each branch, or a control not one scale for
                each residual.
        """

        def residuals(scaled: Tensor, c_noise: Tensor) -> tuple[Tensor, ...] | None:
            return self._sum(scaled, c_noise, sigma, condition)

        return self.denoiser(x, sigma, condition, attention=attention, residuals=residuals)

    def _sum(
        self, x: Tensor, c_noise: Tensor, sigma: Tensor, condition: Condition
    ) -> tuple[Tensor, ...] | None:
        total: tuple[Tensor, ...] | None = None
        for index, control in enumerate(self.controls):
            rows = _rows(control, sigma, condition)
            if rows is not None and not bool(rows.any()):
                continue
            told = _only(condition, rows, index, len(self.controls))
            own = x if rows is None else x[rows], c_noise if rows is None else c_noise[rows]
            found = _scaled(control.branch(*own, told), control.scale)
            if rows is not None:
                found = tuple(_spread(residual, rows) for residual in found)
            total = found if total is None else tuple(a + b for a, b in zip(total, found, strict=True))
        return total


def guess_scales(count: int, scale: float = 1.0) -> tuple[float, ...]:
    """Scales of the residuals where no words say what is drawn: less for those that enter at fine detail.

    The deepest has the full scale, the first a tenth of it. Of 13 they are those of the paper's code
    (`strength · 0.825^(12 − i)`); of another number the same curve between the same ends.

    Args:
        count: Residuals of the branch.
        scale: That of the deepest.
    """
    steps = max(1, count - 1)
    return tuple(scale * GUESS_DECAY ** (GUESS_SPAN * (count - 1 - i) / steps) for i in range(count))


def steps_interval(sigmas: Tensor, start: float, end: float) -> tuple[float, float]:
    """The interval of noise levels that holds the steps of a run between two shares of it.

    A step counts that lies wholly between them, as in diffusers' `control_guidance_start` and `…_end`.

    Args:
        sigmas: The grid of the run, falling.
        start: Share of the steps before which control is off, in [0, 1).
        end: Share after which it is off, above `start`, at most 1.

    Raises:
        UserError: If that is no part of a run, or no step lies in it.
    """
    if not 0 <= start < end <= 1:
        raise UserError(
            f"{start:g} to {end:g} is no part of a run", remedy="give two shares from 0 to 1, the lower first"
        )
    count = len(sigmas) - 1
    first, last = math.ceil(start * count - 1e-9), math.floor(end * count + 1e-9)
    if first >= last:
        raise UserError(f"of {count} steps none lies wholly between {start:g} and {end:g} of the run")
    levels = sigmas.detach().cpu().double()
    # halfway between two levels (as steps of σ), so that rounding decides nothing
    high = math.inf if first == 0 else float((levels[first - 1] * levels[first]).sqrt())
    low = 0.0 if last == count else float((levels[last - 1] * levels[last]).sqrt())
    return low, high


def _rows(control: Control, sigma: Tensor, condition: Condition) -> Tensor | None:
    """Which rows a branch acts on (b,) bool; None for all."""
    present = condition.get("present.hint")
    if control.interval == EVERYWHERE:
        return None if present is None or bool(present.all()) else present
    low, high = control.interval
    level = sigma.double() * (1 - 1e-5)  # a float32 σ may lie a little above its level
    inside = (level > low) & (level <= high)
    rows = inside if present is None else inside & present
    return None if bool(rows.all()) else rows


def _only(condition: Condition, rows: Tensor | None, index: int, count: int) -> dict[str, Tensor]:
    """The condition as one branch is told it: its own hint, and the rows that it acts on."""
    told = {}
    for name, value in condition.items():
        if name == "present.hint":
            continue
        if name.startswith("hint"):
            if value.ndim < 2 or value.shape[1] != count:
                raise ValueError(f"{name!r} of shape {tuple(value.shape)} for {count} control branches")
            value = value[:, index]
        told[name] = value if rows is None else value[rows]
    return told


def _scaled(residuals: Sequence[Tensor], scale: float | tuple[float, ...]) -> tuple[Tensor, ...]:
    scales = scale if isinstance(scale, tuple) else (scale,) * len(residuals)
    if len(scales) != len(residuals):
        raise ValueError(f"{len(scales)} control scales for {len(residuals)} residuals")
    return tuple(
        residual if scale == 1 else residual * scale
        for residual, scale in zip(residuals, scales, strict=True)
    )


def _spread(residual: Tensor, rows: Tensor) -> Tensor:
    """Zero where the branch does not act."""
    whole = residual.new_zeros(len(rows), *residual.shape[1:])
    whole[rows] = residual
    return whole
