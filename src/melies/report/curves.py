"""Curves of training runs, from their logs."""

import json
import math
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from melies.errors import UserError
from melies.report.plot import draw_axes

_MAX_POINTS = 1000


def curves_figure(
    logs: Mapping[str, Path],
    *,
    value: str = "loss",
    along: str = "samples_seen",
    marks: Mapping[str, float] | None = None,
    width_px: int = 960,
    height_px: int = 540,
) -> Image.Image:
    """One line per run: its logged `value` (faint) and the running mean of it, over `along`.

    The vertical axis is logarithmic where the smoothed values span more than a factor of ten.

    Args:
        logs: Name of each run and its JSONL log, one object per line.
        value: Key of the number to draw.
        along: Key of the number on the horizontal axis.
        marks: Places on the horizontal axis, by the words that are written there.
        width_px: Width of the figure.
        height_px: Height of the figure.

    Raises:
        UserError: If a log cannot be read or has no such numbers.
    """
    runs = {name: read_curve(path, value=value, along=along) for name, path in logs.items()}
    if not runs:
        raise UserError("there is no log to draw")

    def paint(axes: Any) -> None:
        spans = []
        for number, (name, (x, y)) in enumerate(runs.items()):
            smooth = running_mean(y, max(1, len(y) // 25))
            axes.plot(*_thinned(x, y), color=f"C{number % 10}", alpha=0.25, linewidth=0.8)
            axes.plot(*_thinned(x, smooth), color=f"C{number % 10}", linewidth=1.8, label=name)
            spans += [smooth.min(), smooth.max()]
        if min(spans) > 0 and max(spans) > 10 * min(spans):
            axes.set_yscale("log")
        for words, place in (marks or {}).items():
            axes.axvline(place, color="0.4", linestyle="--", linewidth=1)
            axes.annotate(
                words, (place, 0.02), xycoords=("data", "axes fraction"), rotation=90, ha="right", va="bottom"
            )
        axes.set_xlabel(along.replace("_", " "))
        axes.set_ylabel(value.replace("_", " "))
        axes.legend(frameon=False)

    return draw_axes(paint, width_px=width_px, height_px=height_px)


def read_curve(path: str | Path, *, value: str, along: str) -> tuple[np.ndarray, np.ndarray]:
    """The finite numbers of a JSONL log, float64 (n,) each, in order of `along`.

    Lines without both keys are passed over, and so is a last line that a crash cut short. Where
    a resumed run logged a point again, the later one stands.

    Raises:
        UserError: If the file cannot be read, a line is no JSON object, or nothing is found.
    """
    path, x, y, broken = Path(path), array("d"), array("d"), 0
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                if broken:
                    raise UserError("not a JSON object", where=f"{path}, line {broken}")
                try:
                    row = json.loads(line) if line.strip() else {}
                except (ValueError, RecursionError):
                    row = None
                if not isinstance(row, dict):
                    broken = number  # forgiven if it is the last line
                    continue
                place, found = _number(row.get(along)), _number(row.get(value))
                if math.isfinite(place) and math.isfinite(found):
                    x.append(place)
                    y.append(found)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}", where=str(path)) from None
    if not x:
        raise UserError(f"the log has no line with both {along!r} and {value!r}", where=str(path))
    places, last = np.unique(np.asarray(x)[::-1], return_index=True)
    return places, np.asarray(y)[::-1][last]


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean over up to `window` values on either side, fewer at the ends; same length."""
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    here = np.arange(len(values))
    low, high = np.maximum(0, here - window), np.minimum(len(values), here + window + 1)
    return (sums[high] - sums[low]) / (high - low)


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    step = max(1, math.ceil(len(x) / _MAX_POINTS))
    kept = np.unique(np.append(np.arange(0, len(x), step), len(x) - 1))
    return x[kept], y[kept]


def _number(entry: object) -> float:
    """The entry as a float; NaN for whatever is no number, or too large for one."""
    try:
        return float(entry) if isinstance(entry, int | float) and not isinstance(entry, bool) else math.nan
    except OverflowError:
        return math.nan
