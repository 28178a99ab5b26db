"""Mean and covariance as sums that add up over batches, processes and resamples."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from melies.errors import UserError
from melies.metrics.features import Features, as_matrix, blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Sufficient statistics of a Gaussian; `a + b` are those of both sets together.

    Kept centred, not as raw sums of squares: those lose every digit of the covariance when the
    mean is large beside the spread.
    """

    count: int
    """Samples seen."""
    mean: Float[Tensor, " d"]
    """In feature units, float64."""
    scatter: Float[Tensor, "d d"]
    """Sum of outer products of deviations from the mean, squared feature units, float64."""

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of the union. Source: Chan, Golub & LeVeque (1979), pairwise update."""
        if self.mean.shape != other.mean.shape:
            raise ValueError(f"moments of {len(self.mean)} and {len(other.mean)} dimensions do not add up")
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        shift = other.mean - self.mean
        return Moments(
            count=count,
            mean=self.mean + shift * (other.count / count),
            scatter=self.scatter
            + other.scatter
            + torch.outer(shift, shift) * (self.count * other.count / count),
        )

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """Unbiased covariance (denominator count − 1), squared feature units.

        Raises:
            UserError: If there are fewer than two samples.
        """
        if self.count < 2:
            raise UserError(f"a covariance needs at least 2 samples, got {self.count}")
        return self.scatter / (self.count - 1)


def moments(features: Features, weights: Tensor | None = None) -> Moments:
    """The moments of features (n, d), taken block by block in float64.

    Args:
        features: One row per sample; no row at all gives the neutral element of `+`.
        weights: (n,) whole numbers ≥ 0, how often each row counts; None is once each.
    """
    matrix = as_matrix(features, least=0)
    if weights is not None and weights.shape != matrix.shape[:1]:
        raise ValueError(f"{len(matrix)} rows but weights of shape {tuple(weights.shape)}")
    total = _moments_of_block(matrix[:0].double(), None)
    for rows in blocks(*matrix.shape):
        part = None if weights is None else weights[rows]
        total = total + _moments_of_block(matrix[rows].double(), part)
    return total


def _moments_of_block(rows: Float[Tensor, "n d"], weights: Tensor | None) -> Moments:
    if weights is not None:
        drawn = weights > 0  # a resample leaves out a third of the rows
        rows, weights = rows[drawn], weights[drawn].to(rows)[:, None]
    count = len(rows) if weights is None else int(weights.sum())
    if not count:
        size = rows.shape[1]
        return Moments(count=0, mean=rows.new_zeros(size), scatter=rows.new_zeros(size, size))
    mean = (rows if weights is None else weights * rows).sum(0) / count
    centred = rows - mean
    return Moments(
        count=count, mean=mean, scatter=gram(centred if weights is None else centred.mul_(weights.sqrt()))
    )


def gram(rows: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """RowsᵀRows, symmetric to the last bit; on a CPU numpy computes only one half of it."""
    if rows.device.type == "cpu":
        array = rows.detach().numpy()
        return torch.from_numpy(array.T @ array)
    product = rows.T @ rows
    return (product + product.T) / 2
