"""Vendi score, pairwise diversity, and the yardstick of both."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.errors import UserError
from melies.metrics import features as features_module
from melies.metrics.diversity import (
    cosine_diversity,
    euclidean_diversity,
    measure_cosine_diversity,
    measure_euclidean_diversity,
)
from melies.metrics.interval import draw_indices
from melies.metrics.variety import measure_variety, some_rows
from melies.metrics.vendi import measure_vendi, vendi_replicates, vendi_score


def normal(seed, n=30, d=5, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_vendi_counts_what_is_different():
    assert vendi_score(torch.eye(6)) == pytest.approx(6)
    assert vendi_score(torch.eye(6).repeat(4, 1) * 3) == pytest.approx(6)
    assert vendi_score(torch.ones(9, 4)) == pytest.approx(1)
    # cosine c of two rows: eigenvalues (1 ± c)/2
    pair = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    expected = torch.special.entr(torch.tensor([0.8, 0.2], dtype=torch.float64)).sum().exp()
    assert vendi_score(pair) == pytest.approx(float(expected))


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("n", "d"), [(40, 7), (7, 40), (12, 12)])
def test_vendi_agrees_with_vendi_score(n, d):
    from vendi_score import vendi

    x = normal(0, n=n, d=d)
    assert vendi_score(x) == pytest.approx(float(vendi.score_X(x.numpy())), rel=1e-9)
    assert vendi_score(x) == pytest.approx(float(vendi.score_dual(x.numpy())), rel=1e-9)


@given(st.integers(0, 1000), st.sampled_from([3, 60]))
def test_vendi_knows_neither_order_nor_length_nor_turn(seed, d):
    x = normal(seed, d=d)
    turn, _ = torch.linalg.qr(normal(seed + 1, n=d, d=d))
    value = vendi_score(x)
    assert 1 <= value <= 30
    assert vendi_score(x.flip(0) @ turn * 7) == pytest.approx(value, rel=1e-9)
    assert vendi_score(x.repeat(2, 1)) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("d", [5, 60])
def test_a_replicate_is_the_score_of_resampled_rows(d):
    x = normal(0, d=d)
    expected = [vendi_score(x[rows]) for rows in draw_indices(30, 3, 8)]
    assert vendi_replicates(x, num_resamples=3, seed=8).tolist() == pytest.approx(expected, rel=1e-9)


def test_diversity_by_hand():
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    assert cosine_diversity(x) == pytest.approx((1 + 2 + 1) / 3)
    assert euclidean_diversity(x) == pytest.approx((5**0.5 + 4 + 13**0.5) / 3)
    alike = torch.full((20, 3), 1e3)
    assert cosine_diversity(alike) == pytest.approx(0, abs=1e-12)
    assert euclidean_diversity(alike) == 0


@pytest.mark.parity
@pytest.mark.parametrize("block", [2**22, 64])
def test_diversity_agrees_with_sklearn(block, monkeypatch):
    from sklearn.metrics import pairwise_distances

    monkeypatch.setattr(features_module, "_BLOCK", block)
    x = normal(0, shift=1.0)
    apart = ~torch.eye(30, dtype=torch.bool).numpy()
    for found, metric in ((cosine_diversity, "cosine"), (euclidean_diversity, "euclidean")):
        expected = pairwise_distances(x.numpy(), metric=metric)[apart].mean()
        assert found(x) == pytest.approx(expected, rel=1e-9)


def test_mean_distance_of_a_gaussian():
    """|x − y| of two standard normals in three dimensions has the mean 4/√π; cosines have the mean 0."""
    x = normal(0, n=1500, d=3)
    assert euclidean_diversity(x) == pytest.approx(4 / torch.pi**0.5, rel=0.03)
    assert cosine_diversity(x) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("measured", "function"),
    [
        (measure_cosine_diversity, cosine_diversity),
        (measure_euclidean_diversity, euclidean_diversity),
        (measure_vendi, vendi_score),
    ],
)
def test_intervals_hold_the_value_and_cover_the_expectation(measured, function):
    truth = sum(function(normal(i, shift=0.5)) for i in range(500, 700)) / 200
    hits = 0
    for seed in range(40):
        found = measured(normal(seed, shift=0.5), num_resamples=50, seed=seed)
        assert found.interval[0] <= found.value <= found.interval[1]
        hits += found.interval[0] <= truth <= found.interval[1]
    assert hits / 40 >= 0.8


def test_resampled_copies_are_no_pairs_of_distance_zero():
    x = normal(0)
    found = measure_euclidean_diversity(x, num_resamples=200)
    middle = sum(found.interval) / 2
    assert middle == pytest.approx(found.value, rel=0.05)


def test_the_yardstick_stands_beside_equally_many_real_samples():
    real = normal(0, n=90)
    found = {metric.name: metric for metric in measure_variety(normal(1), real)}
    names = ["vendi", "cosine diversity", "euclidean diversity"]
    assert list(found) == [title for name in names for title in (name, f"{name} real")]
    assert {metric.num_samples for metric in found.values()} == {30}
    collapsed = {m.name: m for m in measure_variety(normal(1)[:1] + 0.05 * normal(2), real)}
    for name in names:
        assert collapsed[name].interval[1] < collapsed[f"{name} real"].interval[0]
    assert some_rows(real, 90) is real
    assert len(some_rows(real, 4).unique(dim=0)) == 4


def test_what_has_no_direction_is_refused():
    x = normal(0)
    x[3] = 0
    for function in (vendi_score, cosine_diversity):
        with pytest.raises(UserError, match="1 of 30 rows of features are zero"):
            function(x)
    with pytest.raises(UserError, match="too few"):
        euclidean_diversity(x[:1])
