"""Vendi score: the effective number of different samples."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from melies.interfaces import Metric
from melies.metrics.directions import as_directions
from melies.metrics.features import Features
from melies.metrics.interval import draw_counts
from melies.metrics.measure import recentred_metric
from melies.metrics.moments import gram


def vendi_score(features: Features) -> float:
    """Exp of the entropy of the eigenvalues of K/n, with K the cosines between all pairs of samples.

    1 where all samples are alike, n where all are orthogonal. It knows nothing of real samples, and
    grows with n: compare it with that of equally many real ones. Costs one eigenvalue problem of
    min(n, d), whose non-zero eigenvalues are those of the (n, n) kernel.

    Raises:
        UserError: If there are no samples, or a row is zero or not finite.

    Source: Friedman & Dieng (2023), definition 3.1, eq. 1.
    """
    return _score(as_directions(features), None)


def vendi_replicates(features: Features, *, num_resamples: int = 200, seed: int = 0) -> Float[Tensor, " r"]:
    """Bootstrap replicates of `vendi_score`: lower in the mean, for a resample repeats rows."""
    rows = as_directions(features)
    drawn = draw_counts(len(rows), num_resamples, seed)
    return torch.tensor([_score(rows, counts.to(rows)) for counts in drawn], dtype=torch.float64)


def measure_vendi(
    features: Features, *, name: str = "vendi", num_resamples: int = 200, seed: int = 0
) -> Metric:
    """Vendi score with a recentred bootstrap interval; higher is more varied."""
    return recentred_metric(
        name,
        vendi_score(features),
        vendi_replicates(features, num_resamples=num_resamples, seed=seed),
        unit="samples",
        higher_is_better=True,
        num_samples=len(features),
        seed=seed,
        least=1.0,
        most=float(len(features)),
    )


def _score(rows: Float[Tensor, "n d"], counts: Tensor | None) -> float:
    """The score in which row i counts `counts[i]` times."""
    num = len(rows)
    if counts is not None:  # √c in K and in its dual makes a row count c times
        drawn = counts > 0
        rows = rows[drawn] * counts[drawn].sqrt()[:, None]
    smaller = gram(rows) if len(rows) > rows.shape[1] else gram(rows.T.contiguous())
    # numpy's takes half as long as torch's, on several threads a small part of it.
    values = torch.from_numpy(np.linalg.eigvalsh(smaller.cpu().numpy() / num)).clamp_min_(0)
    return float(torch.special.entr(values).sum().exp())
