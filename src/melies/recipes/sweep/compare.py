"""What the cells of a sweep tell together: differences to static guidance, and which no other beats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from melies.interfaces import Metric
from melies.metrics.interval import Difference
from melies.recipes.sweep.cells import Cell
from melies.recipes.sweep.measure import Measured, difference, from_tensors
from melies.recipes.sweep.store import read_cell
from melies.report.record import plain_name

COMPARED = (
    "FD",
    "KD",
    "coverage",
    "diversity",
    "diversity within classes",
    "agreement",
    "inception-style score",
)
"""Metrics whose differences to static guidance are told, where they were measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A cell that was drawn and measured."""

    cell: Cell
    key: str
    metrics: tuple[Metric, ...]
    evaluations: float
    """Of the network, for one picture."""
    pictures: int
    seconds: float
    """That drawing them took."""
    against_static: Mapping[str, Difference]
    """Metric → how much more it is than of static guidance at the same scale; empty of static guidance."""

    def find(self, name: str) -> Metric | None:
        """The metric of that name, with or without features in it."""
        return next((metric for metric in self.metrics if plain_name(metric.name) == name), None)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "name": self.cell.name,
            "cell": self.cell,
            "key": self.key,
            "metrics": [metric._asdict() for metric in self.metrics],
            "evaluations": self.evaluations,
            "pictures": self.pictures,
            "seconds": self.seconds,
            "against_static": {name: found._asdict() for name, found in self.against_static.items()},
        }


def read_metric(row: Mapping[str, Any]) -> Metric:
    """A metric from its JSON."""
    return Metric(**{**row, "interval": tuple(row["interval"])})


def read_results(
    folder: Path, cells: Sequence[Cell], rows: Mapping[str, Mapping[str, Any]], fingerprint: str, *, seed: int
) -> list[Result]:
    """The cells that are done, in their order, each compared with static guidance where that is done too.

    The tensors of two cells at most are in memory at a time.
    """
    found = []
    for cell in cells:
        key = cell.key(fingerprint)
        if key not in rows:
            continue
        base = cell.static.key(fingerprint)
        against: dict[str, Difference] = {}
        if cell != cell.static and base in rows:
            against = differences(
                read_measured(folder, rows[key]), read_measured(folder, rows[base]), seed=seed
            )
        found.append(
            Result(
                cell=cell,
                key=key,
                metrics=tuple(read_metric(entry) for entry in rows[key]["metrics"]),
                evaluations=rows[key]["evaluations"],
                pictures=rows[key]["pictures"],
                seconds=rows[key]["seconds"],
                against_static=against,
            )
        )
    return found


def read_measured(folder: Path, row: Mapping[str, Any]) -> Measured:
    """What was measured of a cell, with all that it is compared by.

    Raises:
        UserError: If its file is missing or damaged.
    """
    metrics = [read_metric(entry) for entry in row["metrics"]]
    return from_tensors(metrics, read_cell(folder, row["key"]))


def differences(first: Measured, second: Measured, *, seed: int) -> dict[str, Difference]:
    """How much more each metric of `COMPARED` is of one cell than of another, where both have it."""
    names = {metric.name for metric in second.metrics}
    return {
        plain_name(metric.name): difference(first, second, metric.name, seed=seed)
        for metric in first.metrics
        if plain_name(metric.name) in COMPARED and metric.name in names
    }


def pareto(points: Sequence[Sequence[float]], *, higher: Sequence[bool]) -> list[bool]:
    """Which points no other beats: none is at least as good in all coordinates and better in one.

    Args:
        points: Coordinates.
        higher: For each coordinate, whether more of it is better.
    """
    signs = [1 if more else -1 for more in higher]
    signed = [[sign * value for sign, value in zip(signs, point, strict=True)] for point in points]

    def beaten(mine: Sequence[float]) -> bool:
        return any(
            all(a >= b for a, b in zip(other, mine, strict=True)) and list(other) != list(mine)
            for other in signed
        )

    return [not beaten(point) for point in signed]
