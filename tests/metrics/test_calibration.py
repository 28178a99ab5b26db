"""A classifier that is right as often as it says has no calibration error; one too sure, exactly the gap."""

import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error

from melies.errors import UserError
from melies.metrics.calibration import calibration_error, measure_calibration


def test_worked_by_hand():
    # in (0.4, 0.6]: mean 0.5 against 3 of 4; in (0.8, 1]: mean 0.95 against 1 of 2
    confidence = torch.tensor([0.5, 0.45, 0.55, 0.5, 0.9, 1.0])
    right = torch.tensor([True, True, True, False, True, False])
    assert calibration_error(confidence, right, num_bins=5) == pytest.approx((4 * 0.25 + 2 * 0.45) / 6)


def test_sure_and_right_is_perfect_sure_and_wrong_is_one():
    sure = torch.ones(10)
    assert calibration_error(sure, torch.ones(10, dtype=torch.bool)) == 0
    assert calibration_error(sure, torch.zeros(10, dtype=torch.bool)) == 1


@pytest.mark.parity
@pytest.mark.parametrize("num_bins", [1, 7, 15])
def test_as_torchmetrics_has_it(num_bins):
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(500, generator=generator, dtype=torch.float64)
    right = torch.rand(500, generator=generator) < confidence**2
    expected = binary_calibration_error(confidence, right.long(), n_bins=num_bins, norm="l1")
    assert calibration_error(confidence, right, num_bins=num_bins) == pytest.approx(float(expected), abs=1e-5)


def test_the_interval_covers_the_gap_of_one_that_is_too_sure():
    generator = torch.Generator().manual_seed(1)
    confidence = 0.6 + 0.4 * torch.rand(4_000, generator=generator)
    right = torch.rand(4_000, generator=generator) < confidence - 0.1
    metric = measure_calibration("judge", confidence, right, num_resamples=200)
    assert metric.interval[0] < 0.1 < metric.interval[1]
    assert metric.interval[1] - metric.interval[0] < 0.05
    assert (metric.name, metric.unit, metric.num_samples) == ("judge", "share", 4_000)
    assert metric == measure_calibration("judge", confidence, right, num_resamples=200)


def test_what_cannot_be():
    with pytest.raises(UserError, match="no samples"):
        calibration_error(torch.zeros(0), torch.zeros(0, dtype=torch.bool))
    with pytest.raises(ValueError, match="probabilities"):
        calibration_error(torch.tensor([1.2]), torch.tensor([True]))
