import math

import pytest
import torch

from melies.errors import UserError
from melies.metrics.interval import wilson_interval
from melies.metrics.modes import class_entropy, class_shares, measure_modes


def test_shares_and_entropy_by_hand():
    shares = class_shares(torch.tensor([0, 2, 2, 2]), 4)
    assert shares.tolist() == [0.25, 0, 0.75, 0]
    assert class_entropy(shares) == pytest.approx(0.25 * math.log(4) + 0.75 * math.log(4 / 3))
    assert class_entropy(torch.full((8,), 1 / 8)) == pytest.approx(math.log(8))


def test_a_missing_mode_is_seen_with_its_uncertainty():
    seen = torch.tensor([0] * 60 + [1] * 39 + [3])
    found = measure_modes(seen, ("shoe", "bag", "coat", "shirt"))
    assert [metric.name for metric in found.shares] == [
        f"share of {c}" for c in ("shoe", "bag", "coat", "shirt")
    ]
    assert [metric.value for metric in found.shares] == [0.6, 0.39, 0, 0.01]
    assert (found.least.value, found.least.interval) == (0, wilson_interval(0, 100, level=1 - 0.05 / 4))
    assert found.entropy.value == pytest.approx(class_entropy(class_shares(seen, 4)))
    assert found.entropy.interval[0] < found.entropy.value < found.entropy.interval[1] <= math.log(4)


def test_the_least_share_is_inside_its_interval_although_it_was_picked():
    """Ten classes alike: the least of their shares is 0.1, and what is seen of it is less."""
    rng = torch.Generator().manual_seed(0)
    names = [str(number) for number in range(10)]
    plain = whole = 0
    for _ in range(200):
        seen = torch.randint(10, (300,), generator=rng)
        found = measure_modes(seen, names, num_resamples=2)
        low, high = min(found.shares, key=lambda share: share.value).interval
        plain += low <= 0.1 <= high
        whole += found.least.interval[0] <= 0.1 <= found.least.interval[1]
    assert plain < 180 < 190 <= whole


def test_the_interval_of_the_entropy_is_that_of_its_delta_method():
    """var H = Var(log p(y)) / n for uneven shares."""
    seen = torch.tensor([0] * 1400 + [1] * 400 + [2] * 200)
    p = class_shares(seen, 3)
    spread = math.sqrt(float((p * p.log() ** 2).sum() - (p * p.log()).sum() ** 2) / 2000)
    found = measure_modes(seen, ("a", "b", "c")).entropy
    expected = (found.value - 1.96 * spread, found.value + 1.96 * spread)
    assert found.interval == pytest.approx(expected, abs=0.2 * spread)


def test_what_has_no_classes_is_refused():
    with pytest.raises(UserError, match="no samples"):
        measure_modes(torch.zeros(0, dtype=torch.int64), ("a", "b"))
    with pytest.raises(ValueError, match="class 2 of 2"):
        class_shares(torch.tensor([0, 2]), 2)
