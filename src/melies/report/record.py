"""One JSON file per measured run: the numbers, and all that is needed to trust or repeat them."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from melies.config import to_json
from melies.errors import UserError, choose
from melies.files import read_text, write_text
from melies.interfaces import Metric
from melies.machine import commit, hardware, versions, without_places

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Measured numbers with their context."""

    name: str
    """What was measured: a recipe, a model, a comparison."""
    metrics: tuple[Metric, ...]
    """The numbers, in the order in which tables show them; names are unique."""
    data: dict[str, Any] = field(default_factory=dict)
    """What it was measured on: description and counts."""
    command: str = ""
    """The command that makes this record again."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Whatever else belongs to the numbers: settings, samples seen, hashes of classifiers."""
    hardware: dict[str, Any] = field(default_factory=dict)
    """As `machine.hardware` gives it."""
    versions: dict[str, str] = field(default_factory=dict)
    """As `machine.versions` gives it."""
    commit: str = ""
    """Commit of the source; empty when it ran from an installed package."""
    duration_s: float = 0.0
    """Seconds that the measured run took on that hardware."""
    date: str = ""
    """UTC, ISO 8601, to the second."""

    def __post_init__(self) -> None:
        """Refuse a number that is not finite and a name that stands for two."""
        if not self.name:
            raise ValueError("a record needs a name")
        names = [metric.name for metric in self.metrics]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"metrics of record {self.name!r} share the name {repeated[0]!r}")
        for metric in self.metrics:
            if not all(math.isfinite(number) for number in (metric.value, *metric.interval)):
                raise ValueError(f"metric {metric.name!r} of record {self.name!r} is not finite: {metric}")

    def metric(self, name: str) -> Metric:
        """The metric called `name`.

        Raises:
            UserError: If there is none; the nearest name is given.
        """
        return choose(name, {metric.name: metric for metric in self.metrics}, f"metric of {self.name}")

    def find(self, name: str) -> Metric | None:
        """The metric of that name, or of that name with features told: `FD` finds `FD[emoji-features@…]`."""
        return next((metric for metric in self.metrics if plain_name(metric.name) == name), None)


def plain_name(name: str) -> str:
    """The name of a metric without the features that it tells: `FD[net@12] floor` → `FD floor`."""
    before, bracket, rest = name.partition("[")
    return before + rest.partition("]")[2] if bracket else name


def record_run(
    name: str,
    metrics: Iterable[Metric],
    *,
    data: Mapping[str, Any],
    command: str,
    duration_s: float,
    notes: Mapping[str, Any] | None = None,
    packages: Sequence[str] = (),
) -> Record:
    """A record of a run on this machine, now: hardware, versions, commit and date are looked up.

    Args:
        name: What was measured.
        metrics: The numbers.
        data: What it was measured on; JSON values.
        command: What makes it again, see `machine.command_line`.
        duration_s: Seconds that the run took.
        notes: Further JSON values, or config dataclasses.
        packages: Packages whose versions matter beside the usual ones.
    """
    return Record(
        name=name,
        metrics=tuple(metrics),
        data=to_json(data),
        command=command,
        notes=to_json(notes or {}),
        hardware=hardware(),
        versions={**versions(), **versions(packages)},
        commit=commit(),
        duration_s=round(float(duration_s), 3),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def write_record(path: str | Path, record: Record) -> Path:
    """Write a record as JSON, whole or not at all; absolute paths in it are shortened.

    Raises:
        UserError: If the file cannot be written.
    """
    entries = {entry.name: getattr(record, entry.name) for entry in fields(record)}
    entries["metrics"] = [metric._asdict() for metric in record.metrics]
    content = {"format": FORMAT, **_published(to_json(entries))}
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    return write_text(Path(path), text + "\n")


def read_record(path: str | Path) -> Record:
    """The record in a JSON file.

    Raises:
        UserError: If the file is no record; the field that is wrong is named.
    """
    where = str(path)
    try:
        content = json.loads(read_text(Path(path)), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"not a record: {error}", where=where) from None
    if not isinstance(content, dict) or "format" not in content:
        raise UserError("not a record: it has no 'format'", where=where)
    if content["format"] != FORMAT:
        raise UserError(
            f"record format {content['format']!r} is not {FORMAT}",
            where=where,
            remedy="it may be from another version of melies; make it again with its command",
        )
    types = {"metrics": list, "duration_s": (int, float)} | dict.fromkeys(
        ("data", "notes", "hardware", "versions"), dict
    )
    values = {}
    for name, value in content.items():
        if name == "format":
            continue
        choose(name, [entry.name for entry in fields(Record)], f"field in {where}")
        if not isinstance(value, types.get(name, str)) or isinstance(value, bool):
            raise UserError(f"has {value!r}, which is of the wrong kind", where=f"{where}: {name}")
        values[name] = value
    for name in ("name", "metrics"):
        if name not in values:
            raise UserError(f"not a record: it has no {name!r}", where=where)
    values["metrics"] = tuple(
        _read_metric(entry, f"{where}: metrics[{i}]") for i, entry in enumerate(values["metrics"])
    )
    try:
        return Record(**values)
    except ValueError as error:
        raise UserError(str(error), where=where) from None


def _read_metric(entry: Any, where: str) -> Metric:
    number = (int, float)
    types = dict.fromkeys(("name", "unit"), str) | {"value": number, "higher_is_better": bool | None}
    types |= {"num_samples": int, "interval": list, "seed": int}
    if not isinstance(entry, dict) or set(entry) != set(Metric._fields):
        raise UserError(f"a metric has exactly the fields {', '.join(Metric._fields)}", where=where)
    for name, value in entry.items():
        if not isinstance(value, types[name]) or (isinstance(value, bool) and name != "higher_is_better"):
            raise UserError(f"has {value!r}, which is of the wrong kind", where=f"{where}.{name}")
    interval = entry["interval"]
    if len(interval) != 2 or not all(
        isinstance(end, number) and not isinstance(end, bool) for end in interval
    ):
        raise UserError(f"has {interval!r} for two numbers", where=f"{where}.interval")
    try:
        value, low, high = (float(number) for number in (entry["value"], *interval))
    except OverflowError:
        raise UserError("has a whole number too large to be measured", where=where) from None
    return Metric(**{**entry, "value": value, "interval": (low, high)})


def _published(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _published(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_published(entry) for entry in value]
    return without_places(value) if isinstance(value, str) else value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")
