"""What a search found, as tables, as figures, and as JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from melies.config import to_json
from melies.files import write_bytes, write_text
from melies.interfaces import Metric
from melies.metrics.interval import Difference
from melies.recipes.guidance import BESIDE_OWN, BROUGHT, TUNED_HERE
from melies.recipes.guidance.tune import SearchReport, Transfer
from melies.recipes.guidance.tune_settings import SearchSettings
from melies.recipes.sweep.page import said
from melies.report.matrix import matrix_figure
from melies.report.png import png_bytes
from melies.report.record import Record, plain_name, record_run, write_record
from melies.report.table import Cells

RESULTS, RECORD = "search.json", "record.json"
AGAINST = {
    "static": "against static guidance at the same scale",
    "own": "against what was tuned there",
}
"""What tuned values are compared with where they are tested."""


def write_search(report: SearchReport, settings: SearchSettings, *, command: str = "") -> list[Path]:
    """`search.json`, a figure for each comparison, and `record.json` with every difference; their paths.

    Raises:
        UserError: If a file cannot be written.
    """
    content = {"command": command, "settings": settings, **search_data(report)}
    text = json.dumps(to_json(content), indent=1, ensure_ascii=False, allow_nan=False)
    written = [write_text(report.out / RESULTS, text + "\n")]
    for against in AGAINST if len(report.tuned) > 1 else ("static",):
        picture = transfer_figure(report, settings, against)
        written.append(write_bytes(report.out / f"against-{against}.png", png_bytes(picture)))
    record = search_record(report, settings, command=command)
    return [*written, write_record(report.out / RECORD, record)]


def search_record(report: SearchReport, settings: SearchSettings, *, command: str = "") -> Record:
    """Differences of the distance on test seeds: from static guidance, and from what was tuned there."""
    metrics = []
    for entry in report.transfers:
        here = entry.tuned == entry.tested
        for against, start in (("static", TUNED_HERE if here else BROUGHT), ("own", BESIDE_OWN)):
            if (found := _difference(entry, settings, against)) is not None:
                metric, difference = found
                places = entry.tested if here else f"{entry.tuned} → {entry.tested}"
                name = f"{start}{plain_name(metric.name)}, {places}"
                metrics.append(
                    metric._replace(name=name, value=difference.value, interval=difference.interval)
                )
    return record_run(
        f"search-{settings.family}",
        metrics,
        data={"tuning pictures": settings.tuning, "test pictures": settings.test},
        command=command,
        duration_s=report.seconds,
        notes={
            "settings": settings,
            "tuned": {
                found.place: dict(zip(report.parameters, found.values, strict=True)) for found in report.tuned
            },
        },
    )


def search_data(report: SearchReport) -> dict[str, Any]:
    """What was found, as plain data."""
    return {
        "parameters": report.parameters,
        "tuned": list(report.tuned),
        "transfers": [
            {
                "tuned": entry.tuned,
                "tested": entry.tested,
                "values": entry.values,
                "metrics": [metric._asdict() for metric in entry.metrics],
                "against_static": _plain(entry.against_static),
                "against_own": _plain(entry.against_own),
            }
            for entry in report.transfers
        ],
        "asked": report.asked,
    }


def tuned_cells(report: SearchReport) -> Cells:
    """One row per place: what was found there, and the loss beside that of static guidance."""
    names = report.parameters
    header = ["tuned on", *names, "loss on tuning seeds", "static", "trials", "evaluations"]
    rows = [
        [
            found.place,
            *(f"{value:.4g}" for value in found.values),
            f"{found.loss:.4g}",
            f"{found.static_loss:.4g}",
            str(found.trials),
            f"{found.evaluations:,}",
        ]
        for found in report.tuned
    ]
    return Cells(header, rows)


def transfer_cells(report: SearchReport, settings: SearchSettings, against: str) -> Cells:
    """A row for where values were tuned, a column for where they were tested: differences, test seeds."""
    names = [found.place for found in report.tuned]
    table = _by_place(report)
    rows = [[row, *(_text(table[row, column], settings, against) for column in names)] for row in names]
    return Cells(["tuned on \\ tested on", *names], rows)


def transfer_figure(report: SearchReport, settings: SearchSettings, against: str) -> Image.Image:
    """The same as coloured cells; blue is nearer to real pictures."""
    names = [found.place for found in report.tuned]
    table = _by_place(report)
    found = {key: _difference(entry, settings, against) for key, entry in table.items()}
    return matrix_figure(
        [[(d := found[row, column]) and d[1].value for column in names] for row in names],
        rows=names,
        columns=names,
        texts=[
            [_text(table[row, column], settings, against).replace(" [", "\n[") for column in names]
            for row in names
        ],
        title=f"{settings.objective.upper()} of {settings.family} on test seeds, {AGAINST[against]}",
        row_title="tuned on",
        column_title="tested on",
    )


def _by_place(report: SearchReport) -> dict[tuple[str, str], Transfer]:
    return {(entry.tuned, entry.tested): entry for entry in report.transfers}


def _difference(entry: Transfer, settings: SearchSettings, against: str) -> tuple[Metric, Difference] | None:
    name = settings.objective.upper()
    found = entry.against_static if against == "static" else entry.against_own
    metric = next((m for m in entry.metrics if plain_name(m.name) == name), None)
    return None if metric is None or name not in found else (metric, found[name])


def _text(entry: Transfer, settings: SearchSettings, against: str) -> str:
    if not entry.metrics:
        return "cannot be"
    found = _difference(entry, settings, against)
    return "–" if found is None else said(*found)


def _plain(found: Mapping[str, Difference]) -> dict[str, Any]:
    return {name: entry._asdict() for name, entry in found.items()}
