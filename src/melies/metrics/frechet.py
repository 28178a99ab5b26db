"""Fréchet distance between the Gaussians fitted to two sets of features."""

import contextlib

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from melies.metrics.features import Features, as_pair
from melies.metrics.interval import draw_counts
from melies.metrics.moments import moments


def frechet_distance(
    mean_a: Float[Tensor, " _"],
    cov_a: Float[Tensor, "_ _"],
    mean_b: Float[Tensor, " _"],
    cov_b: Float[Tensor, "_ _"],
) -> float:
    """Squared 2-Wasserstein distance between two Gaussians.

    |μa − μb|² + tr Σa + tr Σb − 2·tr (Σa Σb)^½. Zero if and only if both moments agree. It is not
    "FID": that name also fixes Inception's features and how pictures are resized for it; on
    other features say which (`"FD on features of …"`), and compare nothing across extractors.

    Args:
        mean_a: Feature mean, in feature units.
        cov_a: Covariance; symmetric positive semi-definite, singular is fine.
        mean_b: As `mean_a`.
        cov_b: As `cov_a`.

    Returns:
        Distance in squared feature units, at least 0. From n samples it is too high by about
        1/n: compare at equal n, beside the floor (`melies.metrics.floor`).

    Raises:
        ValueError: If dimensions differ or a covariance is not positive semi-definite.

    Source: Heusel et al. (2017), eq. 6; the trace through singular values, see `_factor`.
    """
    size = mean_a.shape
    if mean_b.shape != size or cov_a.shape != size * 2 or cov_b.shape != size * 2:
        shapes = [tuple(value.shape) for value in (mean_a, cov_a, mean_b, cov_b)]
        raise ValueError(f"expected (d,), (d, d), (d,), (d, d), got {shapes}")
    # numpy's factorisations of such small matrices are quicker than torch's on several threads.
    a, of_a, b, of_b = (value.detach().double().cpu().numpy() for value in (mean_a, cov_a, mean_b, cov_b))
    # Σ = F Fᵀ makes tr (Σa Σb)^½ the sum of singular values of Faᵀ Fb: no square root of a rounding
    # error, which at rank-deficient covariances would add up to 1e-8 for every missing dimension.
    overlap = np.linalg.svd(_factor(of_a).T @ _factor(of_b), compute_uv=False).sum()
    distance = np.square(a - b).sum() + of_a.trace() + of_b.trace() - 2 * overlap
    return max(0.0, float(distance))


def frechet_distance_of_features(generated: Features, real: Features) -> float:
    """Fréchet distance of two sets of features (n, d) and (m, d); see `frechet_distance`.

    Raises:
        UserError: If a set has fewer than two rows, or one that is not finite.
    """
    generated, real = as_pair(generated, real, ("generated features", "real features"), least=2)
    return _distance(generated, real, None, None)


def frechet_replicates(
    generated: Features, real: Features, *, num_resamples: int = 200, seed: int = 0
) -> Float[Tensor, " r"]:
    """Bootstrap replicates of the distance, both sets resampled.

    A resample is a count per row, so that only moments are computed again and no features are
    copied. Costs two factorisations and one SVD of (d, d) for each replicate.
    """
    generated, real = as_pair(generated, real, ("generated features", "real features"), least=2)
    drawn_generated = draw_counts(len(generated), num_resamples, seed, "generated")
    drawn_real = draw_counts(len(real), num_resamples, seed, "real")
    found = [
        _distance(generated, real, one.to(generated.device), other.to(real.device))
        for one, other in zip(drawn_generated, drawn_real, strict=True)
    ]
    return torch.tensor(found, dtype=torch.float64)


def _distance(generated: Tensor, real: Tensor, weights: Tensor | None, real_weights: Tensor | None) -> float:
    a, b = moments(generated, weights), moments(real, real_weights)
    return frechet_distance(a.mean, a.covariance, b.mean, b.covariance)


def _factor(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d r"]:
    """F of full column rank with F Fᵀ = covariance, without the null space where there is one."""
    covariance = (covariance + covariance.T) / 2
    rounding = len(covariance) * np.finfo(covariance.dtype).eps
    with contextlib.suppress(np.linalg.LinAlgError):
        lower = np.linalg.cholesky(covariance)
        # |L⁻¹|² ≥ 1/λ_min and tr Σ ≥ λ_max: no eigenvalue is as small as a rounding error
        if covariance.trace() * np.square(np.linalg.inv(lower)).sum() * rounding < 1:
            return lower
    values, vectors = np.linalg.eigh(covariance)
    largest = np.abs(values).max()
    if (values < -1e-6 * largest).any():
        raise ValueError(f"covariance is not positive semi-definite: eigenvalue {values.min():.3g}")
    kept = values > largest * rounding
    return vectors[:, kept] * np.sqrt(values[kept])
