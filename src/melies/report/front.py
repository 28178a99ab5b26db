"""Points in a plane of two measures, those marked that no other beats."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image

from melies.report.plot import draw_axes

Interval = tuple[float, float]

CROSSED = 16
"""Most points that are crossed by their intervals."""


class Point(NamedTuple):
    """One point with its intervals."""

    x: float
    y: float
    x_interval: Interval
    y_interval: Interval
    label: str = ""
    """Written beside it."""
    on_front: bool = False
    """Whether no other beats it."""


def front_figure(
    groups: Mapping[str, Sequence[Point]],
    *,
    x: str,
    y: str,
    logarithmic: Sequence[str] = (),
    width_px: int = 800,
    height_px: int = 480,
) -> Image.Image:
    """One line per group through its points, crossed by their intervals; those on the front are ringed.

    Of more than `CROSSED` points the crosses would hide the points: the legend says how wide they are.

    Args:
        groups: Points by the name that the legend gives, in the order in which they are joined.
        x: Title of the horizontal axis.
        y: Title of the vertical axis.
        logarithmic: "x", "y" or both.
        width_px: Width of the figure.
        height_px: Height of the figure.

    Raises:
        ValueError: If there is no point.
    """
    points = [point for group in groups.values() for point in group]
    if not points:
        raise ValueError("a figure needs at least one point")

    def paint(axes: Any) -> None:
        for number, (name, group) in enumerate(groups.items()):
            look = {"color": f"C{number % 10}", "linestyle": ("-", "--", ":")[number // 10 % 3]}
            axes.plot(
                [point.x for point in group],
                [point.y for point in group],
                marker="o",
                markersize=4,
                linewidth=1.2,
                label=name,
                **look,
            )
            for point in group:
                if len(points) <= CROSSED:
                    faint = {"color": look["color"], "alpha": 0.35, "linewidth": 1}
                    axes.hlines(point.y, *point.x_interval, **faint)
                    axes.vlines(point.x, *point.y_interval, **faint)
                if point.label:
                    at = {"xytext": (4, 4), "textcoords": "offset points", "fontsize": "x-small"}
                    axes.annotate(point.label, (point.x, point.y), color=look["color"], **at)
        best = [point for point in points if point.on_front]
        axes.scatter(
            [point.x for point in best],
            [point.y for point in best],
            s=110,
            facecolors="none",
            edgecolors="black",
            linewidths=1,
            zorder=3,
            label="not beaten",
        )
        for name in logarithmic:
            getattr(axes, f"set_{name}scale")("log")
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        crossed = len(points) <= CROSSED
        title = None if crossed else "95 % intervals, on average\n" + _wide(points)
        place = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
        axes.legend(frameon=False, fontsize="x-small", title=title, title_fontsize="x-small", **place)

    return draw_axes(paint, width_px=width_px, height_px=height_px)


def _wide(points: Sequence[Point]) -> str:
    """How far intervals reach to either side, on average."""
    across, up = (
        sum(high - low for low, high in intervals) / (2 * len(points))
        for intervals in ([point.x_interval for point in points], [point.y_interval for point in points])
    )
    return f"±{across:.2g} across, ±{up:.2g} up"
