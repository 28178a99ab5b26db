"""Does a classifier know how sure it may be: what it says against how often it is right."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from melies.errors import UserError
from melies.interfaces import Metric
from melies.metrics.interval import bootstrap, recentred_interval

BINS = 15
"""As many as in the source."""


def calibration_error(
    confidence: Float[Tensor, " n"], right: Bool[Tensor, " n"], *, num_bins: int = BINS
) -> float:
    """Mean distance between the probability of the chosen class and the share of right choices, 0 … 1.

    Bins are of equal width and weigh as many samples as they hold. Source: Guo et al. (2017), eq. 5.

    Args:
        confidence: Probability of the chosen class.
        right: Whether it was the true one.
        num_bins: Bins over 0 … 1.

    Raises:
        UserError: If there are no samples.
        ValueError: If a confidence is not in [0, 1].
    """
    if not len(confidence):
        raise UserError("there are no samples to be sure of", where="calibration error")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("confidences are probabilities, from 0 to 1")
    place = (confidence.double() * num_bins).ceil().long().clamp(1, num_bins) - 1  # (low, high], as there
    gaps = torch.zeros(num_bins, dtype=torch.float64)
    gaps.index_add_(0, place, confidence.double() - right.double())
    return float(gaps.abs().sum() / len(confidence))


def measure_calibration(
    name: str,
    confidence: Float[Tensor, " n"],
    right: Bool[Tensor, " n"],
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Metric:
    """Calibration error with a recentred bootstrap interval: resampling adds to every gap."""
    value = calibration_error(confidence, right)
    replicates = bootstrap(
        lambda rows: calibration_error(confidence[rows], right[rows]),
        len(right),
        num_resamples=num_resamples,
        seed=seed,
    )
    return Metric(
        name=name,
        value=value,
        unit="share",
        higher_is_better=False,
        num_samples=len(right),
        interval=recentred_interval(value, replicates, least=0.0),
        seed=seed,
    )
