import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.errors import UserError
from melies.metrics import features as features_module
from melies.metrics.features import as_matrix, as_pair, collect
from melies.metrics.moments import gram, moments


def test_moments_by_hand():
    found = moments(torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 3.0]]))
    assert found.count == 3
    assert found.mean.tolist() == pytest.approx([1, 1])
    assert found.covariance.flatten().tolist() == pytest.approx([1, 0, 0, 3])
    assert found.mean.dtype == found.scatter.dtype == torch.float64


@given(st.integers(0, 10_000), st.lists(st.integers(0, 12), min_size=1, max_size=5))
def test_parts_add_up_to_the_whole(seed, sizes):
    features = torch.randn(sum(sizes) + 2, 3, generator=torch.Generator().manual_seed(seed))
    whole, parts = moments(features), [moments(part) for part in features.split([*sizes, 2])]
    left, right = parts[0], parts[-1]
    for part in parts[1:]:
        left = left + part
    for part in reversed(parts[:-1]):
        right = part + right
    for found in (left, right):
        assert found.count == whole.count
        torch.testing.assert_close(found.mean, whole.mean)
        torch.testing.assert_close(found.covariance, torch.cov(features.double().T))


def test_weights_count_rows_as_often_as_they_are_repeated():
    features = torch.randn(5, 3, dtype=torch.float64)
    weights = torch.tensor([0, 3, 1, 0, 2])
    repeated = moments(features.repeat_interleave(weights, 0))
    found = moments(features, weights)
    assert found.count == 6
    torch.testing.assert_close(found.mean, repeated.mean)
    torch.testing.assert_close(found.scatter, repeated.scatter)


def test_a_large_mean_costs_no_digits_of_the_covariance(monkeypatch):
    monkeypatch.setattr(features_module, "_BLOCK", 30)
    features = torch.randn(200, 3, dtype=torch.float64)
    torch.testing.assert_close(
        moments(features + 1e7).covariance, moments(features).covariance, rtol=1e-6, atol=1e-6
    )


def test_the_size_of_a_block_changes_nothing(monkeypatch):
    features = torch.randn(50, 4)
    whole = moments(features)
    monkeypatch.setattr(features_module, "_BLOCK", 12)
    torch.testing.assert_close(moments(features).covariance, whole.covariance)


def test_too_few_and_broken_features_are_refused():
    with pytest.raises(UserError, match="at least 2"):
        _ = moments(torch.zeros(1, 3)).covariance
    broken = torch.zeros(4, 2)
    broken[1, 0] = torch.nan
    broken[3] = torch.inf
    with pytest.raises(UserError, match="2 of 4 rows"):
        moments(broken)
    with pytest.raises(UserError, match="too few"):
        as_matrix(torch.zeros(3, 2), least=4)
    with pytest.raises(ValueError, match="same extractor"):
        as_pair(torch.zeros(3, 2), torch.zeros(3, 4), ("a", "b"))
    with pytest.raises(ValueError, match="do not add up"):
        _ = moments(torch.zeros(3, 2)) + moments(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="weights of shape"):
        moments(torch.zeros(3, 2), torch.ones(2))


def test_collect_runs_the_extractor_without_gradients():
    weight = torch.ones(2, requires_grad=True)
    found = collect([torch.ones(3, 2), torch.zeros(1, 2)], lambda batch: (batch * weight)[:, :, None])
    assert found.shape == (4, 2)
    assert not found.requires_grad
    with pytest.raises(UserError, match="no samples"):
        collect([], lambda batch: batch)


def test_a_gram_matrix_is_symmetric_to_the_last_bit():
    rows = torch.randn(50, 17, dtype=torch.float64)
    found = gram(rows)
    assert torch.equal(found, found.T)
    torch.testing.assert_close(found, rows.T @ rows)
    assert gram(rows[:0]).abs().sum() == 0
