"""What a guidance function really does, measured on fixed tensors: convention, gating, cost and the rest.

A target is begun at a scale, and then answers for predictions at a step of a run of `NUM_STEPS`; how one
is made of a way of guiding, of a function or of a guider is in `conformance_targets`. The coefficient of
the null in what is guided, found by least squares, tells the convention whatever else a method does:
it is 0 where guidance is off, at the scale 1 of u + s·(c − u) or at the 0 of c + w·(c − u).
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from melies.errors import UserError

NUM_STEPS = 8
"""Steps of the run that targets are told about."""
STEP = 6
"""The step at which most is measured, late enough for guiders that change their rule on the way."""
SCALES = (3.0, 0.9)
"""Scales at which guidance is on in every convention; the first that a target takes is used."""
SHAPE = (2, 4, 8, 8)
"""Of the fixed predictions."""
NEAR_OFF = 1e-7
"""How far from off a scale is that shows the rule without its switch."""
SAME = 1e-5
"""Relative to c − u, differences below this count as none; guiders take some factors in float32."""

Predictions = Mapping[str, Tensor]
"""By branch: "conditional", "null" and "other", whatever else a method evaluates; float64."""


class Answer(NamedTuple):
    """What a target makes of predictions."""

    guided: Tensor
    evaluations: int | None
    """Network evaluations that it needed; None for a function, which is handed both."""


Session = Callable[[int, Predictions], Answer]
"""`(step, predictions) → answer`; one run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that guides."""

    name: str
    """As it was asked for."""
    begin: Callable[[float], Session]
    """A new run at a scale."""
    space: str = ""
    """Where it says that it acts; empty where it does not say."""
    notes: tuple[str, ...] = ()
    """What is known of it beside what is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was measured of one target."""

    name: str
    """The target."""
    form: str
    """"u + s·(c − u)", "c + w·(c − u)", or the scale at which it is off."""
    off: float | None
    """The scale at which it is off; None where there is none."""
    jump: float
    """How far from c it is at a scale next to that, relative to c − u: 0 where switching off is seamless."""
    parallel: float
    """How much is kept of a difference c − u that lies along c; 1 for the plain rule."""
    channels: tuple[int, int]
    """Channels that are guided, of how many."""
    course: str
    """How the weight goes from the second step on: "constant", "rising", "falling" or "other"."""
    begins: bool
    """Whether the first step is guided as the second is."""
    evaluations: tuple[int | None, ...]
    """Network evaluations where guidance is on, at scale 1 and at scale 0."""
    space: str
    """"any" where predictions of x0, ε or a velocity come out the same, else where it acts."""
    carries: bool
    """Whether a step depends on those before."""
    strengths: tuple[float, float] | None
    """Away from a further prediction, where guidance is on and where it is off; None where there is none."""
    notes: tuple[str, ...]
    """What is known of the target beside what is measured."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user of another implementation would not expect."""
        said = []
        if self.jump > SAME:
            said.append(f"jumps by {self.jump:.0%} of c − u where it is switched off")
        if self.strengths is not None and abs(self.strengths[0] - self.strengths[1]) > SAME:
            on, off = self.strengths
            said.append(f"the strength {on:.3g} of the further prediction is {off:.3g} where guidance is off")
        if self.channels[0] < self.channels[1]:
            said.append(f"leaves {self.channels[1] - self.channels[0]} channels unguided")
        if not self.begins:
            said.append("the first step is another")
        if self.carries:
            said.append("a step depends on those before")
        return (*said, *self.notes)


def check(target: Target) -> Findings:
    """Measure a target.

    Raises:
        UserError: If it fails on the fixed predictions, or returns something else than one of their shape.
    """
    parts = predictions()
    c, u = parts["conditional"], parts["null"]
    on = _on(target, parts)
    off = _off(target, parts)
    jump = 0.0
    if off is not None:
        beside = off + NEAR_OFF
        further = _strength(target, beside, parts) * (c - parts["other"])
        jump = _relative(_ask(target, beside, parts).guided - further - c, c - u)
    strengths = _strength(target, on, parts), _strength(target, on if off is None else off, parts)
    weights = _course(target, on, parts)
    return Findings(
        name=target.name,
        form=_form(off),
        off=off,
        jump=jump,
        parallel=_parallel_kept(target, on, off),
        channels=_channels(target, on, parts),
        course=_direction(weights[1:]),
        begins=_direction(weights[:2]) == "constant" or _direction(weights[1:]) != "constant",
        evaluations=tuple(_evaluations(target, scale, parts) for scale in (on, 1.0, 0.0)),
        space="any" if _is_affine(target, on, parts) else target.space or "as given",
        carries=_carries(target, on, parts),
        strengths=strengths if max(map(abs, strengths)) > SAME else None,
        notes=target.notes,
    )


def predictions() -> dict[str, Tensor]:
    """Fixed predictions that have something in common, as those of a network have."""
    generator = torch.Generator().manual_seed(0)
    common, *own = torch.randn(4, *SHAPE, generator=generator, dtype=torch.float64)
    names = ("conditional", "null", "other")
    return {name: common + 0.8 * part for name, part in zip(names, own, strict=True)}


def _ask(target: Target, scale: float, parts: Predictions, step: int = STEP) -> Answer:
    return _answer(target, target.begin(scale), step, parts)


def _answer(target: Target, session: Session, step: int, parts: Predictions) -> Answer:
    try:
        answer = session(step, parts)
    except UserError:
        raise
    except Exception as error:  # whatever a stranger's function raises
        raise UserError(f"{type(error).__name__}: {error}", where=target.name) from error
    shape = parts["conditional"].shape
    if not isinstance(answer.guided, Tensor) or answer.guided.shape != shape:
        found = getattr(answer.guided, "shape", type(answer.guided).__name__)
        raise UserError(f"returned {found} for predictions of {tuple(shape)}", where=target.name)
    return answer._replace(guided=answer.guided.double())


def _coefficients(guided: Tensor, parts: Predictions) -> dict[str, float]:
    """How much of each prediction is in what is guided, by least squares over the first sample.

    Over one alone, because some rules have a factor for each sample.
    """
    columns = torch.stack([part[0].flatten() for part in parts.values()], 1)
    found = torch.linalg.lstsq(columns, guided[0].flatten()[:, None]).solution.flatten().tolist()
    return dict(zip(parts, found, strict=True))


def _of_null(target: Target, scale: float, parts: Predictions, step: int = STEP) -> float | None:
    """The coefficient of the null; None where the scale is refused."""
    try:
        return _coefficients(_ask(target, scale, parts, step).guided, parts)["null"]
    except UserError:
        return None


def _on(target: Target, parts: Predictions) -> float:
    """The first of `SCALES` that a target takes.

    Raises:
        UserError: Its own, for the first, where it takes none.
    """
    for scale in SCALES:
        with contextlib.suppress(UserError):
            _ask(target, scale, parts)
            return scale
    _ask(target, SCALES[0], parts)
    raise AssertionError("what was refused once is refused again")


def _off(target: Target, parts: Predictions) -> float | None:
    """The scale above which the coefficient of the null is negative, by bisection; None for none."""
    tried = (-0.5, -NEAR_OFF, NEAR_OFF, 0.3, 0.6, 1 - NEAR_OFF, 1 + NEAR_OFF, 1.6, 2.5)
    found = [(scale, value) for scale in tried if (value := _of_null(target, scale, parts)) is not None]
    for (low, above), (high, below) in pairwise(found):
        if above >= -NEAR_OFF > below:
            for _ in range(25):
                middle = (low + high) / 2
                value = _of_null(target, middle, parts)
                low, high = (middle, high) if value is not None and value >= -NEAR_OFF else (low, middle)
            middle = (low + high) / 2
            whole = round(middle)  # where the switch itself lies
            return float(whole) if abs(middle - whole) < SAME else middle
    first, value = found[0]
    return 0.0 if first == NEAR_OFF and abs(value) < SAME else None  # it takes no scale below


def _form(off: float | None) -> str:
    match off:
        case None:
            return "never off"
        case 1.0:
            return "u + s·(c − u)"
        case 0.0:
            return "c + w·(c − u)"
        case _:
            return f"off at {off:.3g}"


def _parallel_kept(target: Target, on: float, off: float | None) -> float:
    """The share of a difference along c that moves what is guided, relative to the plain rule."""
    parts = predictions()
    c = parts["conditional"]
    difference = 0.4 * c
    along = {**parts, "null": c - difference}
    guided = _ask(target, on, along).guided - _strength(target, on, along) * (c - parts["other"])
    moved = float(((guided - c) * difference).sum() / difference.square().sum())
    return round(moved / (on - (off or 0.0)), 4) + 0.0  # and no −0


def _channels(target: Target, on: float, parts: Predictions) -> tuple[int, int]:
    change = _ask(target, on, parts).guided - parts["conditional"]
    moved = change.abs().amax(dim=(0, 2, 3)) > SAME
    return int(moved.sum()), len(moved)


def _course(target: Target, on: float, parts: Predictions) -> list[float]:
    """The weight against the null at every step."""
    return [-_coefficients(_ask(target, on, parts, step).guided, parts)["null"] for step in range(NUM_STEPS)]


def _direction(weights: Sequence[float]) -> str:
    steps = [after - before for before, after in pairwise(weights)]
    if all(abs(step) <= SAME for step in steps):
        return "constant"
    if all(step >= -SAME for step in steps):
        return "rising"
    return "falling" if all(step <= SAME for step in steps) else "other"


def _evaluations(target: Target, scale: float, parts: Predictions) -> int | None:
    try:
        return _ask(target, scale, parts).evaluations
    except UserError:
        return None


def _strength(target: Target, scale: float, parts: Predictions) -> float:
    """How far what is guided moves against the further prediction, as this moves."""
    moved = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    before = _ask(target, scale, parts).guided
    after = _ask(target, scale, {**parts, "other": parts["other"] + moved}).guided
    return -float(((after - before) * moved).sum() / moved.square().sum()) + 0.0


def _is_affine(target: Target, on: float, parts: Predictions) -> bool:
    """Whether guiding and going from one kind of prediction to another can be exchanged."""
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def converted(prediction: Tensor) -> Tensor:
        return 2.3 * x - 1.7 * prediction  # as ε is of x0

    after = converted(_ask(target, on, parts).guided)
    before = _ask(target, on, {name: converted(part) for name, part in parts.items()}).guided
    return _relative(after - before, parts["conditional"] - parts["null"]) < SAME


def _carries(target: Target, on: float, parts: Predictions) -> bool:
    session = target.begin(on)
    _answer(target, session, 0, {name: part.flip(0) for name, part in parts.items()})
    later = [_answer(target, session, step, parts).guided for step in (1, STEP)]
    fresh = [_ask(target, on, parts, step).guided for step in (1, STEP)]
    size = parts["conditional"] - parts["null"]
    return any(_relative(a - b, size) > SAME for a, b in zip(later, fresh, strict=True))


def _relative(a: Tensor, b: Tensor) -> float:
    return float(a.norm() / b.norm())


HEADER = ("of", "form", "at off", "along c", "channels", "over the run", "on / 1 / 0", "space", "remarks")
"""Columns of the table of findings; `on / 1 / 0` are the evaluations where it is on, at scale 1 and at 0."""


def row(one: Findings) -> list[str]:
    """A row of that table."""
    return [
        one.name,
        one.form,
        "seamless" if one.jump <= SAME else f"jump {one.jump:.2f}",
        f"{one.parallel:.0%}",
        "all" if one.channels[0] == one.channels[1] else f"{one.channels[0]} of {one.channels[1]}",
        one.course,
        " / ".join("–" if count is None else str(count) for count in one.evaluations),
        one.space,
        "; ".join(one.remarks) or "–",
    ]


def row_of_failure(name: str, error: UserError) -> list[str]:
    """A row for what could not be measured, which says why."""
    return [name, *["–"] * (len(HEADER) - 2), error.what.partition(". ")[0]]
