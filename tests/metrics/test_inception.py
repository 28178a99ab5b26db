import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.errors import UserError
from melies.metrics.inception import inception_score, inception_score_of_splits, measure_inception_score


def drawn(seed, n=60, k=5, scale=2.0):
    logits = torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (logits * scale).softmax(1)


def test_the_ends_of_the_scale():
    """Sure and even: all classes. Unsure, or always the same class: 1."""
    assert inception_score(torch.eye(7).repeat(3, 1)) == pytest.approx(7)
    assert inception_score(torch.full((9, 7), 1 / 7)) == pytest.approx(1)
    assert inception_score(torch.eye(7)[[2, 2, 2]]) == pytest.approx(1)


def test_two_samples_by_hand():
    """Marginal (½, ½): each KL is 0.8 log 1.6 + 0.2 log 0.4."""
    expected = math.exp(0.8 * math.log(1.6) + 0.2 * math.log(0.4))
    assert inception_score(torch.tensor([[0.8, 0.2], [0.2, 0.8]])) == pytest.approx(expected)


@given(st.integers(0, 1000))
def test_bounds_and_permutations(seed):
    p = drawn(seed)
    value = inception_score(p)
    assert 1 <= value <= 5
    assert inception_score(p.flip(0)) == pytest.approx(value)
    assert inception_score(p.flip(1)) == pytest.approx(value)
    assert inception_score(p.repeat(2, 1)) == pytest.approx(value)


@pytest.mark.parity
@pytest.mark.parametrize("splits", [1, 10])
@pytest.mark.filterwarnings("ignore:Metric `InceptionScore`", "ignore:std")
def test_agrees_with_torchmetrics(splits, monkeypatch):
    from torchmetrics.image.inception import InceptionScore

    class Flatten(torch.nn.Module):
        def forward(self, pictures):
            return pictures.flatten(1)

    logits = 3 * torch.randn(60, 4, 1, 1, dtype=torch.float64)
    reference = InceptionScore(feature=Flatten(), splits=splits)
    reference.update(logits)
    order = torch.randperm(60)
    monkeypatch.setattr(torch, "randperm", lambda *args, **kwargs: order)  # both split alike
    mean, std = reference.compute()
    p = logits.flatten(1).softmax(1)
    if splits == 1:
        assert inception_score(p) == pytest.approx(float(mean), rel=1e-10)
    else:
        found = inception_score_of_splits(p, num_splits=splits)
        assert found == pytest.approx((float(mean), float(std)), rel=1e-10)


def test_the_interval_covers_the_expectation():
    truth = sum(inception_score(drawn(i)) for i in range(1000, 1300)) / 300
    hits = 0
    for seed in range(60):
        found = measure_inception_score(drawn(seed), num_resamples=100, seed=seed)
        assert found.interval[0] < found.value < found.interval[1]
        hits += found.interval[0] <= truth <= found.interval[1]
    assert hits / 60 >= 0.85


def test_a_replicate_is_the_score_of_resampled_rows():
    from melies.metrics.inception import _scores
    from melies.metrics.interval import draw_counts, draw_indices

    p = drawn(0)
    counts = torch.stack(list(draw_counts(60, 4, 3)))
    expected = [inception_score(p[rows]) for rows in draw_indices(60, 4, 3)]
    assert _scores(p, counts).tolist() == pytest.approx(expected, rel=1e-10)


def test_what_is_no_distribution_is_refused():
    with pytest.raises(ValueError, match="logits"):
        inception_score(torch.randn(3, 4))
    with pytest.raises(UserError, match="no samples"):
        inception_score(torch.zeros(0, 4))
    with pytest.raises(UserError, match="10 parts"):
        inception_score_of_splits(drawn(0)[:9])
