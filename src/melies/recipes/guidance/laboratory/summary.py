"""What the cells of a mixture tell together: at equal area, at each one's best scale, at equal alignment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from melies.interfaces import Metric
from melies.metrics.interval import percentile_interval
from melies.recipes.guidance.laboratory.cells import Bench, Cell, Measures
from melies.recipes.guidance.laboratory.settings import LaboratorySettings

Replicated = Float[Tensor, " r"]
"""A number of all samples, then of every bootstrap weighting."""

TITLES = {
    "error at equal area": "the energy distance from p(x)·p(y|x)^s at the mean scale s",
    "error at its best scale": "the same at the scale at which it is least",
    "FD at equal alignment": "the Fréchet distance from p(x|y) at the mean p(y|x) of static guidance at s",
    "diversity at equal alignment": "the mean distance of two samples there, as a share of that under p(x|y)",
}
"""The numbers that ways of guiding are compared by, and what they are."""

HIGHER_IS_BETTER = ("diversity at equal alignment",)
UNITS = {"error at equal area": "units of x", "error at its best scale": "units of x"}


class Way(NamedTuple):
    """A way of guiding on a schedule, over all scales."""

    method: str
    schedule: str

    @property
    def name(self) -> str:
        """The schedule of plain guidance, the way of static guidance, or both."""
        if self.method == "plain":
            return self.schedule
        return self.method if self.schedule == "static" else f"{self.method} {self.schedule}"


class Summary(NamedTuple):
    """A way in numbers, each (r + 1,), by the names of `TITLES`; what cannot be told is missing."""

    numbers: Mapping[str, Replicated]
    best_scale: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """What the laboratory tells of one mixture."""

    bench: Bench
    unguided: Measures
    truth: Measures
    cells: Mapping[Cell, Measures]
    refused: Mapping[str, str]
    """Way and scale → why it was left out."""
    ways: Mapping[Way, Summary]


def summarise(
    cells: Mapping[Cell, Measures], unguided: Measures, settings: LaboratorySettings
) -> dict[Way, Summary]:
    """Every way of guiding of which at least one cell could be drawn."""
    wanted = cells[Cell("plain", "static", settings.tilt)].alignment
    ways: dict[Way, dict[float, Measures]] = {}
    for cell, measures in cells.items():
        ways.setdefault(Way(cell.method, cell.schedule), {})[cell.scale] = measures
    return {way: _summarised(curve, unguided, wanted, settings.tilt) for way, curve in ways.items()}


def _summarised(
    curve: Mapping[float, Measures], unguided: Measures, wanted: Replicated, tilt: float
) -> Summary:
    numbers: dict[str, Replicated] = {}
    best = min(curve, key=lambda scale: float(curve[scale].error[0]))
    if tilt in curve:
        numbers["error at equal area"] = curve[tilt].error
    numbers["error at its best scale"] = curve[best].error
    along = [unguided, *(curve[scale] for scale in sorted(curve))]
    # Probabilities crowd below 1, where distances still grow: their log-odds do so evenly.
    odds = torch.stack([entry.alignment for entry in along]).logit(1e-12)
    for name, values in (
        ("FD at equal alignment", [entry.frechet for entry in along]),
        ("diversity at equal alignment", [entry.diversity for entry in along]),
    ):
        found = interpolated(odds, torch.stack(values), wanted.logit(1e-12))
        if bool(found[0].isfinite()) and float(found.isfinite().double().mean()) > 0.9:
            numbers[name] = found
    return Summary(numbers, best)


def interpolated(along: Float[Tensor, "s r"], values: Float[Tensor, "s r"], wanted: Replicated) -> Replicated:
    """`values` where `along` first rises to `wanted`, linear between neighbours; NaN where it never does."""
    crossed = (along[:-1] < wanted) & (along[1:] >= wanted)
    first = crossed.double().argmax(0, keepdim=True)  # of several the first
    low, high = along[:-1].gather(0, first)[0], along[1:].gather(0, first)[0]
    part = (wanted - low) / (high - low)
    found = torch.lerp(values[:-1].gather(0, first)[0], values[1:].gather(0, first)[0], part)
    return torch.where(crossed.any(0), found, torch.full_like(found, torch.nan))


def interval_of(numbers: Replicated) -> tuple[float, float]:
    """95 % of the replicates, and the number itself."""
    replicates = numbers[1:]
    low, high = percentile_interval(replicates[replicates.isfinite()])
    return min(low, float(numbers[0])), max(high, float(numbers[0]))


def metric(
    name: str, numbers: Replicated, settings: LaboratorySettings, *, unit: str = "", higher: bool = False
) -> Metric:
    """A number with its interval."""
    return Metric(
        name, float(numbers[0]), unit, higher, settings.samples, interval_of(numbers), settings.seed
    )


def metrics_of(
    found: Mapping[Way, Summary], truth: Measures, unguided: Measures, settings: LaboratorySettings
) -> list[Metric]:
    """The schedules of plain guidance and the other ways at a static scale, each also less plain static."""
    metrics = [
        metric("error of exact draws", truth.error, settings, unit="units of x"),
        metric("error without guidance", unguided.error, settings, unit="units of x"),
    ]
    base = found[Way("plain", "static")]
    shown = [way for way in found if way.method == "plain" or way.schedule == "static"]
    for title in TITLES:
        how: dict[str, Any] = {"unit": UNITS.get(title, ""), "higher": title in HIGHER_IS_BETTER}
        for way in shown:
            if title in found[way].numbers:
                metrics.append(metric(f"{way.name}: {title}", found[way].numbers[title], settings, **how))
        for way in shown:
            if way != Way("plain", "static") and {title} <= found[way].numbers.keys() & base.numbers.keys():
                less = found[way].numbers[title] - base.numbers[title]
                metrics.append(metric(f"{way.name} − static: {title}", less, settings, **how))
    return metrics


def rows_of(found: Mapping[Way, Summary]) -> list[dict[str, Any]]:
    """Every way with all its numbers, as plain data."""
    return [
        {
            "method": way.method,
            "schedule": way.schedule,
            "best scale": summary.best_scale,
            **{
                title: [_short(float(numbers[0])), *map(_short, interval_of(numbers))]
                for title, numbers in summary.numbers.items()
            },
        }
        for way, summary in found.items()
    ]


def ranked(found: Mapping[Way, Summary], title: str) -> Sequence[Way]:
    """The ways that have this number, the best first."""
    sign = -1 if title in HIGHER_IS_BETTER else 1
    having = [way for way in found if title in found[way].numbers]
    return sorted(having, key=lambda way: sign * float(found[way].numbers[title][0]))


def _short(value: float) -> float:
    return float(f"{value:.5g}")
