"""Nearest training neighbours: is a picture new, or has it been seen?"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from melies.errors import UserError
from melies.metrics.features import (
    Features,
    as_matrix,
    as_pair,
    blocks,
    column_blocks,
    exact_squared_distances,
    row_blocks,
    squared_distances,
)


class Neighbours(NamedTuple):
    """The k nearest references of each query, nearest first."""

    indices: Int[Tensor, "n k"]
    """Rows of the references, int64."""
    distances: Float[Tensor, "n k"]
    """Euclidean, in feature units, float64; equal rows are at exactly 0."""


class DistanceSummary(NamedTuple):
    """Distances to the nearest neighbour, in feature units."""

    least: float
    percentile_5: float
    median: float
    percentile_95: float


def nearest(queries: Features, references: Features, k: int = 1) -> Neighbours:
    """The k nearest references (m, d) of each query (n, d); memory does not grow with m.

    Raises:
        ValueError: If the dimensions differ or k < 1.
        UserError: If there are fewer than k references, or a row is not finite.
    """
    queries, references = as_pair(queries, references, ("query features", "reference features"))
    return _search(queries, references, k, same=False)


def nearest_others(points: Features, k: int = 1) -> Neighbours:
    """The k nearest other rows of each row; a second copy of a row counts, the row itself not.

    Raises:
        ValueError: If k < 1.
        UserError: If there are not more than k rows, or a row is not finite.
    """
    points = as_matrix(points, "features")
    return _search(points, points, k, same=True)


def summarise_distances(distances: Float[Tensor, " n"]) -> DistanceSummary:
    """Least, 5th percentile, median and 95th percentile of nearest-neighbour distances."""
    places = torch.tensor([0.0, 0.05, 0.5, 0.95], dtype=torch.float64)
    return DistanceSummary(*torch.quantile(distances.double().cpu(), places).tolist())


def copied(
    to_training: Float[Tensor, " n"], held_out_to_training: Float[Tensor, " m"], *, percentile: float = 1.0
) -> Bool[Tensor, " n"]:
    """Which samples lie nearer to the training set than nearly all real held-out ones do.

    For a model that has learned the distribution and copies nothing the share is `percentile` %.

    Args:
        to_training: Distance of each sample to its nearest training row.
        held_out_to_training: The same for real rows that were not trained on.
        percentile: Of the held-out distances, 0–100, below which a sample counts as copied.

    Returns:
        True for each sample that counts.
    """
    limit = torch.quantile(held_out_to_training.double(), percentile / 100)
    return to_training.double() < limit


def _search(queries: Tensor, references: Tensor, k: int, *, same: bool) -> Neighbours:
    if k < 1:
        raise ValueError(f"need k ≥ 1, got {k}")
    available = len(references) - same
    if available < k:
        raise UserError(
            f"{k} nearest neighbours were asked for, and there are {available}",
            remedy="use more samples, or a smaller k",
        )
    # Distances do not change when both sets move; near the origin the matrix product loses least.
    centre = references.mean(0, dtype=torch.float64)
    found = [
        _search_rows(queries, references, rows, centre, k, same=same)
        for rows in row_blocks(len(queries), queries.shape[1])
    ]
    return Neighbours(torch.cat([part[0] for part in found]), torch.cat([part[1] for part in found]).sqrt())


def _search_rows(
    queries: Tensor, references: Tensor, rows: slice, centre: Tensor, k: int, *, same: bool
) -> tuple[Tensor, Tensor]:
    """Indices and exact squared distances for one block of queries."""
    centred = queries[rows].double() - centre
    best = centred.new_empty(len(centred), 0)
    indices = torch.empty(len(centred), 0, dtype=torch.int64, device=queries.device)
    for columns in column_blocks(len(references), references.shape[1]):
        tile = squared_distances(centred, references[columns].double() - centre)
        numbers = torch.arange(columns.start, columns.stop, device=queries.device)
        if same:
            own = torch.arange(rows.start, rows.stop, device=queries.device)
            tile = tile.masked_fill_(own[:, None] == numbers, torch.inf)
        near, places = tile.topk(min(k, tile.shape[1]), largest=False)
        best, indices = torch.cat([best, near], 1), torch.cat([indices, numbers[places]], 1)
        best, places = best.topk(min(k, best.shape[1]), largest=False)
        indices = indices.gather(1, places)
    indices = indices.sort(dim=1).values  # then stable by distance: equal distances in row order
    exact = torch.cat(
        [
            _exact(queries[rows][part], references, indices[part])
            for part in blocks(len(indices), k * queries.shape[1])
        ]
    )
    exact, order = exact.sort(dim=1, stable=True)
    return indices.gather(1, order), exact


def _exact(queries: Tensor, references: Tensor, indices: Tensor) -> Tensor:
    own = torch.arange(len(indices), device=indices.device)[:, None].expand_as(indices)
    pairs = own.reshape(-1), indices.reshape(-1)
    return exact_squared_distances(queries, references, pairs).reshape(indices.shape)
