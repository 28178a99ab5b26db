"""Sheets of drawn pictures beside real ones: what was asked for, and what is nearest."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from melies.files import write_bytes
from melies.metrics.neighbours import Neighbours
from melies.report.figure import grid, neighbours_figure
from melies.report.png import png_bytes


def write_sheet(
    path: Path,
    real: UInt8[Tensor, "n c h w"],
    columns: Mapping[str, UInt8[Tensor, "n c h w"]],
    titles: Sequence[str],
) -> Path:
    """One row for each real picture: itself, then what was drawn for the same words or class.

    Args:
        path: The PNG to write.
        real: First column.
        columns: Title → pictures of that column.
        titles: Of the rows.
    """
    pixels = torch.stack([real, *columns.values()], 1).flatten(0, 1)
    sheet = grid(
        _coloured(pixels),
        columns=1 + len(columns),
        row_labels=list(titles),
        column_labels=["real", *columns],
        zoom=max(1, 96 // real.shape[-1]),
    )
    return write_bytes(path, png_bytes(sheet))


def write_neighbours(
    path: Path,
    drawn: UInt8[Tensor, "n c h w"],
    real: UInt8[Tensor, "m c h w"],
    found: Neighbours,
    titles: Sequence[str],
) -> Path:
    """Drawn pictures, each beside the real ones that are nearest to it.

    Args:
        path: The PNG to write.
        drawn: Pictures.
        real: Where the neighbours are taken from.
        found: The neighbours of each.
        titles: Of the pictures.
    """
    sheet = neighbours_figure(
        _coloured(drawn),
        [_coloured(real[row]) for row in found.indices],
        distances=found.distances.tolist(),
        captions=list(titles),
        across=4,
        zoom=max(1, 64 // drawn.shape[-1]),
    )
    return write_bytes(path, png_bytes(sheet))


def spread(n: int, most: int) -> Int64[Tensor, " k"]:
    """At most `most` places, evenly over `n`."""
    return torch.linspace(0, n - 1, min(most, n)).round().long()


def _coloured(pixels: Tensor) -> Tensor:
    return pixels.expand(-1, 3, -1, -1) if pixels.shape[1] == 1 else pixels
