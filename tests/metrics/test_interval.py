import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.errors import UserError
from melies.metrics import interval
from melies.metrics.interval import (
    bootstrap,
    draw_counts,
    draw_indices,
    paired_difference,
    percentile_interval,
    recentred_interval,
    wilson_interval,
)


def test_wilson_by_hand():
    """Newcombe (1998), table I: 81 of 263 gives 0.2553–0.3662; 15 of 148, 0.0624–0.1605."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)


@pytest.mark.parity
@given(st.integers(1, 200), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_wilson_agrees_with_scipy(trials, share, level):
    successes = round(share * trials)
    expected = scipy.stats.binomtest(successes, trials).proportion_ci(confidence_level=level, method="wilson")
    assert wilson_interval(successes, trials, level=level) == pytest.approx(tuple(expected), abs=1e-9)


@given(st.integers(1, 100), st.floats(0, 1))
def test_wilson_holds_the_share_and_is_symmetric(trials, share):
    successes = round(share * trials)
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    assert wilson_interval(trials - successes, trials) == pytest.approx((1 - high, 1 - low))


def test_percentiles_by_hand():
    assert percentile_interval(torch.arange(101.0)) == pytest.approx((2.5, 97.5))
    assert percentile_interval(torch.arange(101.0), level=0.5) == pytest.approx((25, 75))
    assert recentred_interval(10.0, torch.arange(101.0)) == pytest.approx((-37.5, 57.5))
    assert recentred_interval(10.0, torch.arange(101.0), least=0.0) == pytest.approx((0, 57.5))


def test_resamples_depend_on_seed_and_number_alone():
    few, many = list(draw_indices(9, 3, 5)), list(draw_indices(9, 6, 5))
    assert all(torch.equal(a, b) for a, b in zip(few, many[:3], strict=True))
    assert not torch.equal(many[0], many[1])
    assert not torch.equal(many[0], next(draw_indices(9, 3, 6)))
    assert not torch.equal(many[0], next(draw_indices(9, 3, 5, "other")))
    for indices, counts in zip(many, draw_counts(9, 6, 5), strict=True):
        assert torch.equal(torch.bincount(indices, minlength=9), counts)
        assert counts.sum() == 9


def test_the_spread_of_a_mean_is_its_standard_error():
    values = torch.randn(200, dtype=torch.float64)
    replicates = bootstrap(lambda i: values[i].mean(), 200, num_resamples=1000)
    assert float(replicates.std()) == pytest.approx(float(values.std()) / np.sqrt(200), rel=0.1)


@pytest.mark.parity
def test_the_interval_of_a_median_agrees_with_scipy():
    values = torch.randn(80, dtype=torch.float64)
    low, high = percentile_interval(bootstrap(lambda i: values[i].median(), 80, num_resamples=2000))
    expected = scipy.stats.bootstrap(
        (values.numpy(),), np.median, method="percentile", n_resamples=4000, rng=0
    ).confidence_interval
    assert (low, high) == pytest.approx(tuple(expected), abs=0.12)


def test_intervals_cover_the_truth_about_as_often_as_they_claim():
    hits = 0
    for i in range(200):
        values = torch.randn(40, generator=torch.Generator().manual_seed(i), dtype=torch.float64)
        replicates = bootstrap(lambda rows, values=values: values[rows].mean(), 40, num_resamples=100, seed=i)
        low, high = percentile_interval(replicates)
        hits += low <= 0 <= high
    assert 0.86 <= hits / 200 <= 0.99


def test_sets_are_resampled_apart_and_pairs_together():
    same = torch.arange(30)
    apart = bootstrap(lambda i, j: (i != j).double().mean(), 30, 30, num_resamples=5)
    assert (apart > 0.5).all()
    together = bootstrap(lambda i: (same[i] != i).double().mean(), 30, num_resamples=5)
    assert (together == 0).all()


def test_pairing_takes_away_what_samples_share():
    difficulty = 10 * torch.randn(100, dtype=torch.float64)
    found = paired_difference(difficulty + 0.5, difficulty)
    assert found.value == pytest.approx(0.5)
    assert found.interval == pytest.approx((0.5, 0.5))
    noisy = paired_difference(difficulty + torch.randn(100), difficulty)
    assert noisy.interval[0] < 0 < noisy.interval[1]
    assert noisy.interval[1] - noisy.interval[0] < 0.6


def test_what_makes_no_interval_is_refused():
    with pytest.raises(UserError, match="no samples"):
        bootstrap(lambda i: 0.0, 0)
    with pytest.raises(UserError, match="at least 2"):
        bootstrap(lambda i: 0.0, 5, num_resamples=1)
    with pytest.raises(UserError, match="at least one trial"):
        wilson_interval(0, 0)
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(3, 2)
    with pytest.raises(UserError, match="level"):
        percentile_interval(torch.arange(3.0), level=1.5)


def test_a_recentred_interval_stays_within_what_is_possible():
    assert recentred_interval(0.9, torch.tensor([0.5, 0.7]), least=0.82, most=0.95) == (0.82, 0.95)
    assert recentred_interval(2.0, torch.tensor([2.0] * 99 + [1.0])) == (2.0, pytest.approx(2.01))


def test_blocks_of_counts_are_the_resamples_whatever_their_size(monkeypatch):
    whole = torch.cat(list(interval.count_blocks(7, 10, 3)))
    assert torch.equal(whole, torch.stack(list(interval.draw_counts(7, 10, 3))).double())
    monkeypatch.setattr(interval, "_AT_ONCE", 21)
    blocks = list(interval.count_blocks(7, 10, 3))
    assert [len(block) for block in blocks] == [3, 3, 3, 1]
    assert torch.equal(torch.cat(blocks), whole)
