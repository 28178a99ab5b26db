"""The page of the experiments with control branches: a table, and fidelity over pictures and seconds."""

from pathlib import Path

from PIL import Image

from melies.files import write_bytes
from melies.images.instruments import short_name
from melies.recipes.control import REACHED, STRICT
from melies.recipes.control.experiments import ControlExperiments, ExperimentsReport, own_cost, said
from melies.report import html
from melies.report.plot import Line, lines_figure
from melies.report.png import png_bytes
from melies.report.table import Cells, with_interval

PAGE = "experiments.html"
SHOWN = (f"{STRICT}, with control", f"{STRICT} − branch", f"pictures {REACHED}", f"seconds {REACHED}")
"""Columns of the table, beside what a step costs."""
COSTS = {"seconds per step": "s", "memory of a step": "MiB"}
"""What a step costs, with units."""


def write_experiments(out: Path, report: ExperimentsReport, settings: ControlExperiments) -> Path:
    """The page, and its figures as files besides.

    Raises:
        UserError: If it cannot be written.
    """
    pictures, seconds = fidelity_figures(report, settings.batch_size)
    for name, figure in (("fidelity", pictures), ("seconds", seconds)):
        write_bytes(out / f"{name}.png", png_bytes(figure))
    about = [
        f"{settings.num_samples:,} pictures in each run; hints are {', '.join(settings.kinds)}. Strict"
        " fidelity is that of all kinds on held-out pairs with edges at one pixel. Differences are taken"
        " pair by pair. Intervals are 95 %."
    ]
    if report.target is not None:
        about.append(
            f"The common fidelity, {report.target:.3f}, is at {settings.share:.0%} of the rise that both the"
            " branch and the tuned base reach; its intervals are between two watches."
        )
    sections = [
        html.text("What was done", about),
        html.table("The runs", run_cells(report)),
        html.pictures(
            "Fidelity while they train",
            [pictures, seconds],
            [
                "By pictures seen; at 0 the base alone.",
                "By seconds of training steps, as the step was timed.",
            ],
        ),
        html.measures("Every number", list(report.records.values())),
    ]
    return html.write_page(out / PAGE, f"Experiments with control of {short_name(settings.model)}", sections)


def run_cells(report: ExperimentsReport) -> Cells:
    """One row per run: what it is, how it keeps to hints, what a step costs."""
    rows = []
    for name, record in report.records.items():
        found = [record.find(metric) for metric in SHOWN]
        costs = [own_cost(record, cost) for cost in COSTS]
        told = ["–" if metric is None else with_interval(metric) for metric in (*found, *costs)]
        rows.append([name, said(name), *told])
    header = ["run", "what it is", *SHOWN, *(f"{cost}, {unit}" for cost, unit in COSTS.items())]
    return Cells(header, rows)


def fidelity_figures(report: ExperimentsReport, batch_size: int) -> tuple[Image.Image, Image.Image]:
    """Fidelity of every run over the pictures that it has seen, and over the seconds of its steps."""
    by_pictures, by_seconds = {}, {}
    for name, watched in report.watched.items():
        step = own_cost(report.records[name], "seconds per step").value / batch_size
        by_pictures[name] = Line(x=watched.samples_seen, y=watched.fidelity)
        by_seconds[name] = Line(x=[seen * step for seen in watched.samples_seen], y=watched.fidelity)
    return (
        lines_figure(by_pictures, x="pictures seen", y="fidelity to the hint"),
        lines_figure(by_seconds, x="seconds of training steps", y="fidelity to the hint"),
    )
