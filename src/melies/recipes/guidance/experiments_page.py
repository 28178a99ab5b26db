"""The page of the experiments: a section for each, with its table and figures."""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from melies.images.instruments import short_name
from melies.recipes.guidance import EXPERIMENTS
from melies.recipes.guidance.experiment_settings import ExperimentSettings
from melies.recipes.sweep.compare import Result
from melies.recipes.sweep.page import (
    FIGURES,
    PLANES,
    SAMPLES,
    difference_cells,
    measured_planes,
    result_cells,
    short_names,
)
from melies.recipes.sweep.run import SweepReport
from melies.report import html
from melies.report.table import Cells, with_interval

PAGE = "experiments.html"

LOOKS = ("pixels at the ends", "chroma", "edge contrast", "solid colour", "high-frequency power")
"""What the experiments on saturation and texture show besides."""


def write_experiments(
    out: Path, sweeps: Mapping[str, SweepReport], skipped: Mapping[str, str], settings: ExperimentSettings
) -> Path:
    """The page; its figures lie in the folders of the sweeps.

    Raises:
        UserError: If it cannot be written.
    """
    about = [
        f"{settings.seeds:,} pictures of the same seeds in every cell, {settings.steps} steps of"
        f" {settings.sampler}. The weight w of the slides is the scale minus 1. Intervals are 95 %.",
        *(f"Not made: {name}: {reason}." for name, reason in skipped.items()),
    ]
    sections = [html.text("What was done", about)]
    for name, report in sweeps.items():
        results, title = report.results, f"{name.capitalize()}: {EXPERIMENTS[name]}"
        sections.append(html.table(title, result_cells(results)))
        if name in ("weights", "panels"):
            sections.append(html.table(f"{name.capitalize()}: how they look", look_cells(results)))
        if any(result.against_static for result in results):
            sections.append(html.table(f"{name.capitalize()}: against static", difference_cells(results)))
        shown = [] if name in ("weights", "panels", "removed") else measured_planes(results, PLANES)
        names = [*(axes.name for axes in shown), SAMPLES]
        figures = [read_figure(report.out / FIGURES / f"{figure}.png") for figure in names]
        captions = [axes.caption for axes in shown]
        where = f"The same seeds in every row; this and more in {name}/{FIGURES}."
        sections.append(html.pictures(f"{name.capitalize()}: figures", figures, [*captions, where]))
    return html.write_page(out / PAGE, f"Experiments with guidance of {short_name(settings.model)}", sections)


def read_figure(path: Path) -> Image.Image:
    """A figure that a sweep has written."""
    with Image.open(path) as opened:
        return opened.convert("RGB")


def look_cells(results: tuple[Result, ...]) -> Cells:
    """One row per cell: saturation, sharpness, texture."""
    shown = [name for name in LOOKS if any(result.find(name) for result in results)]
    rows = []
    for result, title in zip(results, short_names([r.cell.name for r in results]), strict=True):
        found = [result.find(name) for name in shown]
        rows.append([title, *("–" if metric is None else with_interval(metric) for metric in found)])
    return Cells(["cell", *shown], rows)
