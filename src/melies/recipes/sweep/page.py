"""What a sweep writes: a table, figures of what guidance trades for what, a page with all of it, and JSON."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

from melies.config import to_json
from melies.files import write_bytes, write_text
from melies.images.instruments import Instruments
from melies.interfaces import Metric
from melies.metrics.interval import Difference
from melies.recipes.ladder.figures import zoom_of
from melies.recipes.sweep.cells import SweepPlan
from melies.recipes.sweep.compare import COMPARED, Result, pareto
from melies.recipes.sweep.settings import SweepSettings
from melies.recipes.sweep.store import read_cell
from melies.report import html
from melies.report.figure import grid
from melies.report.front import Point, front_figure
from melies.report.png import png_bytes
from melies.report.table import ARROWS, Cells, column_title, format_numbers, with_interval

SHOWN = (
    "FD",
    "coverage",
    "diversity",
    "agreement",
    "CLIP score",
    "inception-style score",
    "pixels at the ends",
)
"""Columns of the table, where they were measured."""

PAGE, RESULTS, FIGURES, SAMPLES = "sweep.html", "sweep.json", "figures", "samples"

MOST_SHEET = 60
"""Rows of the sheet of samples, at most."""


class Axes(NamedTuple):
    """A plane in which cells are compared."""

    name: str
    """Of the file."""
    x: str
    y: str
    caption: str


PLANES = (
    Axes(
        "quality-diversity", "diversity", "FD", "Distance to real pictures (lower is better) against variety."
    ),
    Axes(
        "quality-diversity-within",
        "diversity within classes",
        "FD",
        "Distance to real pictures against variety within a class.",
    ),
    Axes("quality-cost", "evaluations", "FD", "Distance to real pictures against what a picture costs."),
    Axes(
        "quality-agreement",
        "agreement",
        "FD",
        "Distance to real pictures against agreement with what was asked.",
    ),
    Axes("diversity-agreement", "agreement", "diversity", "Variety against agreement with what was asked."),
    Axes("quality-clip", "CLIP score", "FD", "Distance to real pictures against the CLIP score."),
)
"""What is drawn, where both sides were measured."""


def write_sweep(
    out: Path,
    results: Sequence[Result],
    plan: SweepPlan,
    *,
    tools: Instruments,
    settings: SweepSettings,
    command: str,
) -> Path:
    """Figures, `sweep.json` and the page; where the page is.

    Raises:
        UserError: If a file cannot be written.
    """
    figures = {axes: plane_figure(results, axes) for axes in measured_planes(results, PLANES)}
    sheet = samples_sheet(out, results)
    for axes, picture in figures.items():
        write_bytes(out / FIGURES / f"{axes.name}.png", png_bytes(picture))
    write_bytes(out / FIGURES / f"{SAMPLES}.png", png_bytes(sheet))
    content = {
        "command": command,
        "settings": settings,
        "cells": [result.to_json() for result in results],
        "skipped": [entry._asdict() for entry in plan.skipped],
        "fronts": {axes.name: [r.cell.name for r in on_front(results, axes)] for axes in figures},
    }
    text = json.dumps(to_json(content), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(out / RESULTS, text + "\n")
    about = [
        f"Every cell drew the same {len(tools.groups[tools.first].rows):,} pictures of the same seeds, which"
        f" were compared with {len(tools.real.pixels):,} {tools.reference.title}. Distances are between"
        f" features ({tools.space.name})"
        + (f"; {tools.judge.name} says what is seen." if tools.judge else "."),
        "Intervals are 95 %. A difference is of pairs of pictures of one seed, the cell minus static guidance"
        " at the same scale; one whose interval holds 0 is not told apart from it. A point is ringed where no"
        " other is at least as good in both measures.",
    ]
    sections = [html.text("What was done", about), html.table("All cells", result_cells(results))]
    if any(result.against_static for result in results):
        sections.append(html.table("Against static guidance at the same scale", difference_cells(results)))
    if plan.skipped:
        rows = [[entry.name, entry.reason] for entry in plan.skipped]
        sections.append(html.table("Not drawn", Cells(["cell", "why"], rows)))
    captions = [axes.caption for axes in figures]
    sections.append(html.pictures("What is traded for what", list(figures.values()), captions))
    sections.append(html.pictures("The same seeds in every cell", [sheet], [""]))
    return html.write_page(out / PAGE, f"Sweep of {Path(settings.model).name}", sections)


def value_of(result: Result, name: str) -> Metric | None:
    """A measure of a cell; `evaluations` are one too."""
    if name != "evaluations":
        return result.find(name)
    count = result.evaluations
    return Metric(name, count, "per picture", False, 1, (count, count), 0)


def measured_planes(results: Sequence[Result], planes: Sequence[Axes]) -> list[Axes]:
    """The planes of which both sides were measured."""
    return [
        axes
        for axes in planes
        if all(any(value_of(result, name) for result in results) for name in (axes.x, axes.y))
    ]


def on_front(results: Sequence[Result], axes: Axes) -> list[Result]:
    """The cells that no other beats in a plane."""
    found = [(result, value_of(result, axes.x), value_of(result, axes.y)) for result in results]
    known = [(result, x, y) for result, x, y in found if x is not None and y is not None]
    if not known:
        return []
    _, x, y = known[0]
    higher = [x.higher_is_better is True, y.higher_is_better is True]
    best = pareto([(x.value, y.value) for _, x, y in known], higher=higher)
    return [result for (result, _, _), kept in zip(known, best, strict=True) if kept]


def plane_figure(results: Sequence[Result], axes: Axes) -> Image.Image:
    """All cells in a plane, a line for each way of guiding over its scales."""
    best = {result.key for result in on_front(results, axes)}
    groups: dict[str, list[Point]] = {}
    for result in results:
        x, y = value_of(result, axes.x), value_of(result, axes.y)
        if x is not None and y is not None:
            point = Point(
                x.value, y.value, x.interval, y.interval, f"{result.cell.scale:g}", result.key in best
            )
            groups.setdefault(result.cell.group, []).append(point)
    names = short_names(list(groups))
    units = [_titled(value_of(results[0], name), name) for name in (axes.x, axes.y)]
    return front_figure(dict(zip(names, groups.values(), strict=True)), x=units[0], y=units[1])


def short_names(names: Sequence[str]) -> list[str]:
    """Names of cells or groups without the words that all of them share."""
    split = [name.split(", ") for name in names]
    common = set.intersection(*map(set, split)) if len(split) > 1 else set()
    return [", ".join(word for word in words if word not in common) or words[0] for words in split]


def result_cells(results: Sequence[Result]) -> Cells:
    """One row per cell: what was measured, evaluations and time."""
    shown = [name for name in SHOWN if any(result.find(name) for result in results)]
    rows = []
    for result, name in zip(results, short_names([r.cell.name for r in results]), strict=True):
        found = [result.find(column) for column in shown]
        cost = [f"{result.evaluations:g}", f"{1000 * result.seconds / result.pictures:.3g}"]
        rows.append([name, *("–" if metric is None else with_interval(metric) for metric in found), *cost])
    return Cells(["cell", *_headed(results, shown), "evaluations", "ms/picture"], rows)


def difference_cells(results: Sequence[Result]) -> Cells:
    """One row per cell that is not static: how much more it measures."""
    compared = [result for result in results if result.against_static]
    shown = [name for name in COMPARED if any(name in result.against_static for result in compared)]
    rows = []
    for result, title in zip(compared, short_names([r.cell.name for r in compared]), strict=True):
        found = [(result.find(name), result.against_static.get(name)) for name in shown]
        rows.append([title, *("–" if m is None or d is None else said(m, d) for m, d in found)])
    return Cells(["cell", *_headed(compared, shown)], rows)


def said(metric: Metric, found: Difference) -> str:
    """A difference with its interval, and a word where it is one: better or worse."""
    value, low, high = format_numbers(metric._replace(value=found.value, interval=found.interval))
    more = found.interval[0] > 0
    told = more or found.interval[1] < 0
    word = "" if not told else " better" if more == metric.higher_is_better else " worse"
    return f"{value} [{low}, {high}]{word}"


def samples_sheet(out: Path, results: Sequence[Result]) -> Image.Image:
    """A row for each cell, a column for each seed."""
    rows: list[tuple[str, torch.Tensor]] = []
    names = short_names([result.cell.name for result in results])
    for result, name in itertools.islice(zip(results, names, strict=True), MOST_SHEET):
        rows.append((name, read_cell(out, result.key)["pictures"]))
    pixels = torch.cat([pictures for _, pictures in rows])
    return grid(
        pixels,
        columns=len(rows[0][1]),
        row_labels=[name for name, _ in rows],
        zoom=zoom_of(pixels.shape[-1], 48),
    )


def _headed(results: Sequence[Result], names: Sequence[str]) -> list[str]:
    """Heads of columns, of which at least one result has each."""
    return [
        next(column_title(metric, name) for result in results if (metric := result.find(name)))
        for name in names
    ]


def _titled(metric: Metric | None, name: str) -> str:
    arrow = "" if metric is None else ARROWS[metric.higher_is_better]
    unit = f" ({metric.unit})" if metric is not None and metric.unit else ""
    return f"{name}{unit}{arrow}"
