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
    cached_blocks,
    column_blocks,
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
    found = Neighbours(
        torch.zeros(len(queries), k, dtype=torch.int64, device=queries.device),
        torch.full((len(queries), k), torch.inf, dtype=torch.float64, device=queries.device),
    )
    width = queries.shape[1]
    for rows in row_blocks(len(queries), width):
        centred = queries[rows].double() - centre
        if same:
            tile = squared_distances(centred, centred)
            tile.diagonal().fill_(torch.inf)
            _keep_nearest(found, rows, rows, tile)
        for columns in column_blocks(len(references), width, start=rows.stop if same else 0):
            tile = squared_distances(centred, references[columns].double() - centre)
            _keep_nearest(found, rows, columns, tile)
            if same:  # each pair is computed once
                _keep_nearest(found, columns, rows, tile.T)
    return _in_order(queries, references, found.indices)


def _keep_nearest(found: Neighbours, rows: slice, columns: slice, tile: Float[Tensor, "n m"]) -> None:
    """Let what `rows` have found compete with a tile of their squared distances to `columns`."""
    k = found.indices.shape[1]
    near, places = tile.topk(min(k, tile.shape[1]), largest=False)
    distances = torch.cat([found.distances[rows], near], 1)
    indices = torch.cat([found.indices[rows], places + columns.start], 1)
    found.distances[rows], kept = distances.topk(k, largest=False)
    found.indices[rows] = indices.gather(1, kept)


def _in_order(queries: Tensor, references: Tensor, indices: Int[Tensor, "n k"]) -> Neighbours:
    """The neighbours by exact distance; those at equal distances in row order."""
    indices = indices.sort(dim=1).values
    exact = [
        torch.linalg.vector_norm(references[indices[rows]].double() - queries[rows].double()[:, None], dim=2)
        for rows in cached_blocks(len(queries), indices.shape[1] * queries.shape[1])
    ]
    distances, order = torch.cat(exact).sort(dim=1, stable=True)
    return Neighbours(indices.gather(1, order), distances)
