"""Feature matrices: what a measurement accepts, and the tiles in which it is worked through.

Extractors are handed in and never imported here: the same measures serve pictures, camera
paths and sound.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from melies.errors import UserError

Features = Float[Tensor, "_ _"] | Float[np.ndarray, "_ _"]
"""(n, d): one row per sample, any float type; sums are taken in float64."""

_BLOCK = 2**22
"""Numbers in one float64 block (32 MiB): memory does not grow with the number of samples."""

_TILE = (512, 1024)
"""Rows and columns of pairs at once, at most: 4 MiB, so that what follows a product finds it in a cache."""

_CACHED = 2**16
"""Numbers at once where several passes are made over them: half a megabyte of float64."""


def as_matrix(features: Features, name: str = "features", *, least: int = 1) -> Tensor:
    """Features as a tensor (n, d), checked; nothing is copied where that can be helped.

    Raises:
        ValueError: If they are no float matrix.
        UserError: If there are fewer than `least` rows, or a row that is not finite.
    """
    matrix = torch.as_tensor(features)
    if matrix.ndim != 2 or not matrix.is_floating_point():
        raise ValueError(f"{name}: expected a float matrix (n, d), got {matrix.dtype} {tuple(matrix.shape)}")
    if len(matrix) < least:
        raise UserError(f"{len(matrix)} samples are too few, at least {least} are needed", where=name)
    matrix = matrix.detach()
    if matrix.device.type == "mps":
        matrix = matrix.cpu()  # no float64 there
    if torch.isfinite(matrix.sum()):  # one pass, nothing kept; only an overflow needs the closer look
        return matrix
    bad = sum(int((~torch.isfinite(matrix[rows])).any(dim=1).sum()) for rows in blocks(*matrix.shape))
    if bad:
        raise UserError(
            f"{bad} of {len(matrix)} rows of features are not finite",
            where=name,
            remedy="look at the samples: the model that drew them may have diverged",
        )
    return matrix


def as_pair(a: Features, b: Features, names: tuple[str, str], *, least: int = 1) -> tuple[Tensor, Tensor]:
    """Two sets of features in the same space, on one device.

    Raises:
        ValueError: If their dimensions differ.
        UserError: As `as_matrix` does.
    """
    first, second = as_matrix(a, names[0], least=least), as_matrix(b, names[1], least=least)
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"{names[0]} have {first.shape[1]} dimensions and {names[1]} have {second.shape[1]}; "
            "both must come from the same extractor"
        )
    return first, second.to(first.device)


def collect(batches: Iterable[Tensor], extract: Callable) -> Tensor:
    """Run `extract` over batches and keep its features (n, d) as float32 on the CPU.

    Args:
        batches: Whatever `extract` takes, one batch at a time.
        extract: Batch → (b, …) features; trailing axes are flattened.
    """
    rows = []
    with torch.no_grad():
        for batch in batches:
            found = extract(batch)
            rows.append(found.detach().reshape(len(found), -1).to(device="cpu", dtype=torch.float32))
    if not rows:
        raise UserError("there are no samples to measure", remedy="give at least one batch")
    return torch.cat(rows)


def blocks(num_rows: int, width: int, *, most: int | None = None) -> Iterator[slice]:
    """Slices of rows such that one slice of `width` columns fills one block, or `most` numbers, at most."""
    step = max(1, min(_BLOCK, most or _BLOCK) // max(1, width))
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))


def cached_blocks(num_rows: int, width: int) -> Iterator[slice]:
    """Slices of rows of `width` numbers that stay in a core's cache from one pass to the next."""
    yield from blocks(num_rows, width, most=_CACHED)


def column_blocks(num_columns: int, width: int, *, start: int = 0) -> Iterator[slice]:
    """Slices for the second set of a pairwise computation, from row `start`; `width` is of features."""
    for columns in blocks(num_columns - start, max(width, _BLOCK // _TILE[1])):
        yield slice(start + columns.start, start + columns.stop)


def row_blocks(num_rows: int, width: int) -> Iterator[slice]:
    """Slices for the first set; with `column_blocks` one tile of pairs stays in a core's cache."""
    yield from blocks(num_rows, max(width, _BLOCK // _TILE[0]))


def squared_lengths(rows: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Squared Euclidean length of each row, in one pass that keeps nothing."""
    return torch.linalg.vector_norm(rows, dim=1).square()


def squared_distances(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Squared Euclidean distances by one matrix product.

    Absolute error about d·2⁻⁵²·(|a|² + |b|²): near zero, use `exact_squared_distances`.
    """
    squares = squared_lengths(a)[:, None] + squared_lengths(b)
    return squares.addmm_(a, b.T, alpha=-2).clamp_min_(0)


def exact_squared_distances(
    a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], pairs: tuple[Tensor, Tensor]
) -> Float[Tensor, " p"]:
    """Squared distances of `p` listed pairs by differences: zero for equal rows, exactly."""
    rows, columns = pairs
    found = [
        squared_lengths(a[rows[part]].double() - b[columns[part]].double())
        for part in cached_blocks(len(rows), a.shape[1])
    ]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.float64, device=a.device)
