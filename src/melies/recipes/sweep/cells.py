"""The cells of a sweep: every way of drawing that is asked for and possible, and why the rest is not."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from melies.config import to_json
from melies.diffusion import NEEDS
from melies.diffusion.guidance.bind import check_fits
from melies.diffusion.guidance.methods import STRENGTHS, guidance_of
from melies.errors import UserError
from melies.interfaces import Guidance
from melies.recipes.sweep.settings import SweepSettings, read_part

OFF = {"plus-plus": None, "classifier": 0.0, "classifier-mean-shift": 0.0}
"""Scale at which a method is off, where that is not 1; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One way of drawing."""

    method: str = "plain"
    schedule: str = "static"
    scale: float = 1.0
    steps: int = 25
    sampler: str = "dpmpp"
    interval: tuple[float, float] | None = None
    """σ between which guidance is on."""
    removed: tuple[float, float] | None = None
    """Part of the run without guidance, in t/T."""

    def guidance(self) -> Guidance:
        """What draws it; errors as of `guidance_of`."""
        return guidance_of(
            self.method, self.scale, schedule=self.schedule, interval=self.interval, removed=self.removed
        )

    @property
    def group(self) -> str:
        """All but the scale: what a line of a figure is called."""
        words = [self.method, self.schedule, f"{self.steps} steps", self.sampler]
        if self.interval is not None:
            words.append("sigma {:g} to {:g}".format(*self.interval))
        if self.removed is not None:
            words.append("without t/T {:g} to {:g}".format(*self.removed))
        return ", ".join(words)

    @property
    def name(self) -> str:
        """What tables call it."""
        first, _, rest = self.group.partition(", ")
        return f"{first} {self.scale:g}, {rest}"

    @property
    def is_on(self) -> bool:
        """Whether the scale is another than that at which its method is off."""
        return self.scale != OFF.get(self.method.partition(":")[0], 1.0)

    @property
    def static(self) -> "Cell":
        """The cell that it is compared with: always on, at the same scale."""
        return replace(self, schedule="static", interval=None, removed=None)

    def key(self, fingerprint: str) -> str:
        """What its row and its file are called in a sweep of that fingerprint."""
        text = json.dumps([fingerprint, to_json(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Skipped(NamedTuple):
    """A combination that is not drawn."""

    name: str
    reason: str


class Planned(NamedTuple):
    """A cell with its cost."""

    cell: Cell
    evaluations: int
    """Of the network, for one picture: a condition and its null count as two."""


class SweepPlan(NamedTuple):
    """What is drawn, in the order of the settings, and what is not."""

    cells: tuple[Planned, ...]
    skipped: tuple[Skipped, ...]


def reasons(skipped: Sequence[Skipped]) -> list[str]:
    """Why cells are left out, a line for each reason: the cell, or the first of several and their number."""
    grouped: dict[str, list[str]] = {}
    for entry in skipped:
        grouped.setdefault(entry.reason, []).append(entry.name)
    return [
        f"left out: {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "") + f": {reason}"
        for reason, names in grouped.items()
    ]


Cost = Callable[[Cell], int]
"""Network evaluations of one picture of a cell; a `UserError` where it cannot be drawn."""


def plan_cells(settings: SweepSettings, cost: Cost) -> SweepPlan:
    """Every combination of the settings, those that cannot be drawn or are drawn already set apart.

    Args:
        settings: What is asked for.
        cost: Tells what a cell costs, or why it cannot be drawn.

    Raises:
        UserError: If nothing is left.
    """
    planned: list[Planned] = []
    skipped: list[Skipped] = []
    seen: dict[Cell, str] = {}
    for cell in combinations(settings):
        same = _canonical(cell)
        if same in seen:
            skipped.append(Skipped(cell.name, f"draws the same as {seen[same]}"))
            continue
        try:
            check_needs(cell, settings)
            check_fits(cell.guidance(), cell.sampler)
            planned.append(Planned(cell, cost(cell)))
        except UserError as error:
            skipped.append(Skipped(cell.name, str(error)))
            continue
        seen[same] = cell.name
    if not planned:
        reasons = "; ".join(dict.fromkeys(entry.reason for entry in skipped))
        raise UserError("no combination can be drawn", remedy=reasons)
    return SweepPlan(tuple(planned), tuple(skipped))


def combinations(settings: SweepSettings) -> Iterator[Cell]:
    """All combinations: whole runs and intervals, then parts removed, scale by scale."""
    parts = [(read_part(text, "intervals"), None) for text in settings.intervals]
    parts += [(None, read_part(text, "removals")) for text in settings.removals]
    for steps, sampler, method, schedule, (interval, removed), scale in itertools.product(
        settings.steps, settings.samplers, settings.methods, settings.schedules, parts, settings.scales
    ):
        yield Cell(
            method=method,
            schedule=schedule,
            scale=scale,
            steps=steps,
            sampler=sampler,
            interval=interval,
            removed=removed,
        )


def check_needs(cell: Cell, settings: SweepSettings) -> None:
    """Refuse a method that needs what the settings do not bring.

    Raises:
        UserError: Naming the option that would bring it.
    """
    method = cell.method.partition(":")[0]
    needed = NEEDS.get(method, "")
    if needed and not getattr(settings, needed, None):
        raise UserError(f"the guidance {method!r} needs more than the model", remedy=f"add --{needed}")


def _canonical(cell: Cell) -> Cell:
    """A cell that draws the same: at the scale where a method is off, no schedule changes anything.

    The one-liner is never off, and a strength beside the scale acts at any scale where guidance is on.
    """
    if cell.is_on or cell.schedule == "one-liner":
        return cell
    return replace(cell, schedule="static") if cell.method.partition(":")[0] in STRENGTHS else cell.static
