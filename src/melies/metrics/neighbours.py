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
    squared_lengths,
)

_SPARE = 4
"""Candidates beyond those asked for, whose distance bounds that of all others."""


class Neighbours(NamedTuple):
    """The k nearest references of each query, nearest first."""

    indices: Int[Tensor, "n k"]
    """Rows of the references, int64."""
    distances: Float[Tensor, "n k"]
    """Euclidean, in feature units, float64; equal rows are at exactly 0."""


def nearest(queries: Features, references: Features, k: int = 1) -> Neighbours:
    """The k nearest references (m, d) of each query (n, d); memory grows as the features do, not as n·m.

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


def copied(
    to_training: Float[Tensor, " n"], held_out_to_training: Float[Tensor, " m"], *, percentile: float
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
    """Single precision finds candidates; their exact distances say in which rows it may have missed one."""
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
    own = torch.arange(len(queries), device=queries.device) if same else None
    num = min(available, k + _SPARE)
    candidates = _candidates(queries, references, num, centre, torch.float32, own)
    found = _in_order(queries, references, candidates.indices)
    found = Neighbours(found.indices[:, :k], found.distances[:, :k])
    if num == available:
        return found
    missed = candidates.distances.amax(1) - _most_error(queries, references, centre)
    sure = (found.distances[:, -1].square() < missed) & missed.isfinite()
    unsure = (~sure).nonzero()[:, 0]
    if len(unsure):
        rows = queries[unsure]
        surer = _candidates(rows, references, k, centre, torch.float64, None if own is None else own[unsure])
        again = _in_order(rows, references, surer.indices)
        found.indices[unsure], found.distances[unsure] = again.indices, again.distances
    return found


def _candidates(
    queries: Tensor, references: Tensor, num: int, centre: Tensor, dtype: torch.dtype, own: Tensor | None
) -> Neighbours:
    """The `num` nearest by squared distances of that precision, in no order.

    Args:
        queries: (n, d).
        references: (m, d).
        num: How many.
        centre: Subtracted from both.
        dtype: Of the matrix products.
        own: (n,): row of the references that is the query itself and does not count; None where none is.
    """
    found = Neighbours(
        torch.zeros(len(queries), num, dtype=torch.int64, device=queries.device),
        torch.full((len(queries), num), torch.inf, dtype=dtype, device=queries.device),
    )
    moved = (references - centre).to(dtype)
    width = queries.shape[1]
    for rows in row_blocks(len(queries), width):
        part = (queries[rows] - centre).to(dtype)
        for columns in column_blocks(len(references), width):
            tile = squared_distances(part, moved[columns])
            if own is not None:
                here = own[rows] - columns.start
                among = ((here >= 0) & (here < tile.shape[1])).nonzero()[:, 0]
                tile[among, here[among]] = torch.inf
            _keep_nearest(found, rows, columns, tile)
    return found


def _most_error(queries: Tensor, references: Tensor, centre: Tensor) -> Float[Tensor, " n"]:
    """What squared distances by a matrix product in single precision may be wrong by, at most.

    Source: Higham (2002), "Accuracy and stability of numerical algorithms", eq. 3.4, of both squares
    and of twice the product.
    """
    width = queries.shape[1]

    def squares(rows: Tensor) -> Tensor:
        return torch.cat([squared_lengths(rows[part] - centre) for part in row_blocks(len(rows), width)])

    error = 2 * (width + 4) * torch.finfo(torch.float32).eps / 2
    return error * (squares(queries) + squares(references).amax())


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
