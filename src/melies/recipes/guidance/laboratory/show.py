"""The laboratory as pictures and as a table."""

from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image

from melies.recipes.guidance.laboratory.cells import Bench, Cell, draw
from melies.recipes.guidance.laboratory.settings import LaboratorySettings
from melies.recipes.guidance.laboratory.summary import TITLES, Found, Way, interval_of, ranked
from melies.report.figure import grid
from melies.report.plot import bars_figure, draw_axes
from melies.report.table import Cells
from melies.rng import generator_for

SHOWN = ("static", "linear", "invlinear", "early", "middle", "late")
"""Schedules whose samples are shown."""

POINTS = 600

BEYOND = 2.0
"""Times what nine bars in ten stay below: where the axis ends, lest one bar flattens all others."""


def figures(found: Mapping[str, Found], settings: LaboratorySettings) -> dict[str, Image.Image]:
    """Errors of all schedules by name, and samples beside the truth."""
    parts = [
        errors_figure(found, title)
        for title in ("error at equal area", "error at its best scale", "FD at equal alignment")
    ]
    return {
        "laboratory-errors": grid(parts, columns=1),
        "laboratory-samples": samples_figure({name: entry.bench for name, entry in found.items()}, settings),
    }


def errors_figure(found: Mapping[str, Found], title: str) -> Image.Image:
    """Bars of one number for each schedule of plain guidance; none where it cannot be told."""
    labels = [way.schedule for way in next(iter(found.values())).ways if way.method == "plain"]
    groups: dict[str, list[float]] = {}
    intervals: dict[str, list[tuple[float, float]]] = {}
    for name, entry in found.items():
        summaries = [entry.ways.get(Way("plain", label)) for label in labels]
        numbers = [None if summary is None else summary.numbers.get(title) for summary in summaries]
        groups[name] = [0.0 if number is None else float(number[0]) for number in numbers]
        intervals[name] = [(0.0, 0.0) if number is None else interval_of(number) for number in numbers]
    heights = torch.tensor([height for row in groups.values() for height in row])
    usual = BEYOND * float(heights.quantile(0.9))
    return bars_figure(
        groups,
        labels,
        y=title,
        intervals=intervals,
        top=usual if float(heights.max()) > usual > 0 else None,
        width_px=1100,
        height_px=360,
    )


def samples_figure(benches: Mapping[str, Bench], settings: LaboratorySettings) -> Image.Image:
    """For each mixture of the plane exact draws, then samples of some schedules at equal area."""
    rows = {name: bench for name, bench in benches.items() if bench.start.shape[1] == 2}
    rows = rows or dict(benches)
    schedules = [name for name in SHOWN if name in settings.schedules or name in ("early", "middle", "late")]
    pictures = []
    for bench in rows.values():
        drawn = [bench.target.draw(POINTS, generator_for(settings.seed, "shown"))]
        drawn += [draw(bench, Cell("plain", name, settings.tilt))[:POINTS] for name in schedules]
        reach = 1.1 * float(torch.cat(drawn).abs().quantile(0.998))
        pictures += [_cloud(x, reach) for x in drawn]
    titles = [f"truth, s = {settings.tilt:g}", *schedules]
    return grid(pictures, columns=len(titles), column_labels=titles, row_labels=list(rows))


def _cloud(x: torch.Tensor, reach: float) -> Image.Image:
    columns = x.T.numpy()
    across, up = (columns[0], columns[1]) if len(columns) == 2 else (columns[0], 0 * columns[0])

    def paint(axes: Any) -> None:
        axes.scatter(across, up, s=3, alpha=0.5, linewidths=0, color="C0")
        axes.set_xlim(-reach, reach)
        axes.set_ylim(-reach, reach)
        axes.set_xticks([])
        axes.set_yticks([])

    return draw_axes(paint, width_px=170, height_px=170)


def best_cells(found: Mapping[str, Found]) -> Cells:
    """For each mixture and each comparison the best schedules of plain guidance, and static's place."""
    rows = []
    for name, entry in found.items():
        plain = {way: summary for way, summary in entry.ways.items() if way.method == "plain"}
        for title in TITLES:
            order = ranked(plain, title)
            if not order:
                continue
            said = ", ".join(f"{way.name} {float(plain[way].numbers[title][0]):.3g}" for way in order[:3])
            static = Way("plain", "static")
            place = f"{order.index(static) + 1} of {len(order)}" if static in order else "–"
            rows.append([name, title, place, said])
    return Cells(["mixture", "number", "static is", "best"], rows)
