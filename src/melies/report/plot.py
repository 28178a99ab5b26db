"""Plots of measured numbers: lines with their intervals, bars, and clouds of points."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

MANY_POINTS = 5_000
"""More points than this on one plot hide each other."""


class Line(NamedTuple):
    """Numbers along an axis."""

    x: Sequence[float]
    y: Sequence[float]
    intervals: Sequence[tuple[float, float]] | None = None
    """Low and high ends, one pair for each number."""


def draw_axes(paint: Callable[[Any], None], *, width_px: int = 640, height_px: int = 400) -> Image.Image:
    """One plot: `paint` gets matplotlib's axes; what it drew comes back as a picture."""
    return draw_beside([paint], width_px=width_px, height_px=height_px)


def draw_beside(
    paints: Sequence[Callable[[Any], None]], *, width_px: int = 640, height_px: int = 400
) -> Image.Image:
    """Plots side by side: each of `paints` gets axes of its own."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_px / 100, height_px / 100), dpi=100, layout="constrained")
    for axes, paint in zip(figure.subplots(1, len(paints), squeeze=False)[0], paints, strict=True):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        paint(axes)
    target = io.BytesIO()
    FigureCanvasAgg(figure).print_png(target)
    return Image.open(target).convert("RGB")


def lines_figure(
    lines: Mapping[str, Line],
    *,
    x: str,
    y: str,
    logarithmic: Sequence[str] = (),
    width_px: int = 640,
    height_px: int = 400,
) -> Image.Image:
    """One line per entry, with marks, and bars for the intervals where there are some.

    Args:
        lines: By the name that the legend gives.
        x: Title of the horizontal axis.
        y: Title of the vertical axis.
        logarithmic: "x", "y" or both.
        width_px: Width of the figure.
        height_px: Height of the figure.

    Raises:
        ValueError: If there is no line.
    """
    if not lines:
        raise ValueError("a figure needs at least one line")

    def paint(axes: Any) -> None:
        for number, (name, line) in enumerate(lines.items()):
            colour = f"C{number % 10}"
            mark = "o" if len(line.x) <= 20 else ""
            axes.plot(line.x, line.y, color=colour, marker=mark, markersize=4, linewidth=1.6, label=name)
            if line.intervals is not None:
                low, high = np.asarray(line.intervals, dtype=float).T
                axes.vlines(line.x, low, high, color=colour, alpha=0.5, linewidth=1.2)
        for name in logarithmic:
            _logarithmic(axes, name, [line.x if name == "x" else line.y for line in lines.values()])
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        if len(lines) > 1:
            beside = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if len(lines) > 4 else {}
            axes.legend(frameon=False, fontsize="small", **beside)

    return draw_axes(paint, width_px=width_px, height_px=height_px)


def bars_figure(
    groups: Mapping[str, Sequence[float]],
    labels: Sequence[str],
    *,
    y: str,
    intervals: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    level: float | None = None,
    top: float | None = None,
    width_px: int = 640,
    height_px: int = 400,
) -> Image.Image:
    """For each label one bar per group.

    Args:
        groups: Heights by the name that the legend gives, one for each label.
        labels: Along the horizontal axis.
        y: Title of the vertical axis.
        intervals: Low and high ends by the same names, one pair for each label.
        level: A height that is marked by a line.
        top: Where the axis ends; a bar that is higher says how high beside its end.
        width_px: Width of the figure.
        height_px: Height of the figure.

    Raises:
        ValueError: If a group has not one bar per label, or there is none.
    """
    if not groups or not labels or any(len(heights) != len(labels) for heights in groups.values()):
        raise ValueError("a figure needs groups of bars, each with one bar per label")

    def paint(axes: Any) -> None:
        width = 0.8 / len(groups)
        for number, (name, heights) in enumerate(groups.items()):
            left = np.arange(len(labels)) + (number - (len(groups) - 1) / 2) * width
            axes.bar(left, heights, width, color=f"C{number % 10}", label=name)
            if intervals is not None:
                axes.vlines(left, *zip(*intervals[name], strict=True), color="black", linewidth=1)
            for at, height in zip(left, heights, strict=True):
                if top is not None and height > top:
                    beside = {"xytext": (-4, -1), "textcoords": "offset points", "ha": "right", "va": "top"}
                    axes.annotate(f"{height:.2g} ↑", (at, top), fontsize="small", **beside)
        if level is not None:
            axes.axhline(level, color="grey", linestyle="--", linewidth=1)
        if top is not None:
            axes.set_ylim(top=top)
        slanted = {"rotation": 40, "ha": "right"} if max(map(len, labels)) > 3 else {}
        axes.set_xticks(range(len(labels)), labels, **slanted)
        axes.set_ylabel(y)
        if len(groups) > 1:  # above, where no bar is
            axes.legend(
                frameon=False,
                fontsize="small",
                loc="lower center",
                bbox_to_anchor=(0.5, 1),
                ncols=min(4, len(groups)),
            )

    return draw_axes(paint, width_px=width_px, height_px=height_px)


def _logarithmic(axes: Any, name: str, numbers: Sequence[Sequence[float]]) -> None:
    """A logarithmic axis with plain numbers at its ticks: the values themselves, where they are few."""
    from matplotlib.ticker import LogLocator, NullFormatter

    getattr(axes, f"set_{name}scale")("log")
    axis = getattr(axes, f"{name}axis")
    values = sorted({value for row in numbers for value in row})
    if name == "x" and len(values) <= 8:
        axis.set_ticks(values)
    else:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def map_figure(
    points: Float[np.ndarray, "n 2"],
    labels: Int[np.ndarray, " n"] | None,
    classes: Sequence[str],
    *,
    title: str = "",
    width_px: int = 480,
    height_px: int = 440,
) -> Image.Image:
    """A cloud of points in the plane, coloured by class; of very many an even share is shown."""
    shown = np.linspace(0, len(points) - 1, min(len(points), MANY_POINTS)).round().astype(int)

    def paint(axes: Any) -> None:
        numbers = np.zeros(len(points), dtype=int) if labels is None else labels
        for number in np.unique(numbers[shown]):
            chosen = shown[numbers[shown] == number]
            name = classes[number] if classes else ""
            colour = f"C{number}" if number < 10 else None
            axes.scatter(*points[chosen].T, s=6, alpha=0.7, color=colour, linewidths=0, label=name)
        axes.set_title(title, fontsize="medium")
        if 0 < len(classes) <= 10:
            axes.legend(
                frameon=False, fontsize="x-small", markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5)
            )

    return draw_axes(paint, width_px=width_px, height_px=height_px)
