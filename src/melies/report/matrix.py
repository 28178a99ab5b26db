"""Numbers of rows against columns, as coloured cells."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from melies.report.plot import draw_axes

CHARACTER_PX = 8
"""Width of a character of the title, with room to spare."""


def matrix_figure(
    values: Sequence[Sequence[float | None]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    texts: Sequence[Sequence[str]],
    title: str,
    row_title: str = "",
    column_title: str = "",
) -> Image.Image:
    """One cell per number, blue below 0 and red above, with its text; a cell without number is empty.

    Args:
        values: A list of numbers for each row.
        rows: Names of the rows.
        columns: Names of the columns.
        texts: What is written into each cell.
        title: Above the figure.
        row_title: What the rows are.
        column_title: What the columns are.

    Raises:
        ValueError: If there is no cell, or the numbers of names do not fit.
    """
    shapes = {(len(part), *{len(row) for row in part}) for part in (values, texts)}
    if shapes != {(len(rows), len(columns))}:
        raise ValueError(f"cells of {shapes} for {len(rows)} rows and {len(columns)} columns")
    array = np.array([[np.nan if value is None else value for value in row] for row in values])
    finite = np.abs(array[np.isfinite(array)])
    limit = float(finite.max()) if finite.size and finite.max() > 0 else 1.0

    def paint(axes: Any) -> None:
        axes.grid(visible=False)
        axes.imshow(array, cmap="RdBu_r", vmin=-1.6 * limit, vmax=1.6 * limit, aspect="auto")
        for row, entries in enumerate(texts):
            for column, entry in enumerate(entries):
                axes.text(column, row, entry, ha="center", va="center", fontsize="small")
        slanted = {"rotation": 20, "ha": "right"} if max(map(len, columns)) > 12 else {}
        axes.set_xticks(range(len(columns)), columns, **slanted)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xlabel(column_title)
        axes.set_ylabel(row_title)
        axes.figure.suptitle(textwrap.fill(title, width // CHARACTER_PX), fontsize="medium")

    width, height = 260 + 170 * len(columns), 160 + 60 * len(rows)
    return draw_axes(paint, width_px=width, height_px=height)
