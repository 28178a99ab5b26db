import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.errors import UserError
from melies.metrics import features as features_module
from melies.metrics.kernel import (
    kernel_distance,
    kernel_distance_of_subsets,
    kernel_replicates,
    polynomial_kernel,
)


def normal(seed, n=30, d=5, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_kernel_by_hand():
    a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.5]])
    assert float(polynomial_kernel(a, b)) == pytest.approx((4 / 2 + 1) ** 3)


def test_two_points_against_two_by_hand():
    """One dimension: k(x, y) = (xy + 1)³; {0, 1} against {2, 2}: 1 + 125 − 2·(1 + 27)/2."""
    found = kernel_distance(torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [2.0]]))
    assert found == pytest.approx(1 + 125 - 2 * (1 + 27) / 2)


@pytest.mark.parity
def test_agrees_with_torchmetrics():
    from torchmetrics.image.kid import poly_mmd

    a, b = normal(0), normal(1, shift=0.5)
    assert kernel_distance(a, b) == pytest.approx(float(poly_mmd(a, b)), rel=1e-10)


@pytest.mark.parity
def test_agrees_with_the_pairwise_kernel_of_sklearn():
    from sklearn.metrics.pairwise import polynomial_kernel as reference

    a, b = normal(0, n=4), normal(1, n=7)
    torch.testing.assert_close(polynomial_kernel(a, b), torch.from_numpy(reference(a, b, degree=3)))


def test_unbiased_on_one_distribution():
    """The mean of many distances between tiny sets of one Gaussian is 0 within its error."""
    values = torch.tensor([kernel_distance(normal(2 * i, n=6), normal(2 * i + 1, n=9)) for i in range(400)])
    assert values.min() < 0 < values.max()
    assert abs(float(values.mean())) < 4 * float(values.std()) / math.sqrt(len(values))


def test_expectation_of_shifted_gaussians():
    """In one dimension, x ~ N(0, 1), y ~ N(m, 1): MMD² = 3m² + 3(m²)² + (m³ + 3m)², from moments.

    (xy + 1)³ = 1 + 3xy + 3x²y² + x³y³, so MMD² sums 3, 3 and 1 times the squared differences of
    the first three raw moments: m, m², m³ + 3m.
    """
    m = 0.7
    expected = 3 * m**2 + 3 * m**4 + (m**3 + 3 * m) ** 2
    values = torch.tensor(
        [kernel_distance(normal(3 * i, n=40, d=1), normal(3 * i + 1, n=40, d=1, shift=m)) for i in range(300)]
    )
    assert float(values.mean()) == pytest.approx(expected, abs=4 * float(values.std()) / math.sqrt(300))


@given(st.integers(0, 1000))
def test_symmetry_permutation_and_rotation(seed):
    a, b = normal(seed), normal(seed + 1, n=20, shift=1.0)
    turn, _ = torch.linalg.qr(normal(seed + 2, n=5))
    value = kernel_distance(a, b)
    assert kernel_distance(b, a) == pytest.approx(value, rel=1e-9)
    assert kernel_distance(a.flip(0), b) == pytest.approx(value, rel=1e-9)
    assert kernel_distance(a @ turn, b @ turn) == pytest.approx(value, rel=1e-8)


def test_the_size_of_a_block_changes_nothing(monkeypatch):
    a, b = normal(0), normal(1, n=23, shift=0.5)
    whole, replicates = kernel_distance(a, b), kernel_replicates(a, b, num_resamples=4)
    monkeypatch.setattr(features_module, "_BLOCK", 64)
    assert kernel_distance(a, b) == pytest.approx(whole, rel=1e-10)
    torch.testing.assert_close(kernel_replicates(a, b, num_resamples=4), replicates)


def test_subsets_have_the_same_expectation():
    a, b = normal(0, n=60), normal(1, n=60, shift=0.5)
    found = kernel_distance_of_subsets(a, b, subset_size=20, num_subsets=300)
    error = found.std / math.sqrt(300)
    assert found.mean == pytest.approx(kernel_distance(a, b), abs=4 * error)
    assert kernel_distance_of_subsets(a, b, subset_size=60, num_subsets=2).mean == pytest.approx(
        kernel_distance(a, b), rel=1e-9
    )


def test_replicates_centre_on_the_estimate_and_spread_like_fresh_samples():
    """Repeated rows must not bias them: the diagonal of a repeated row stays out."""
    value = kernel_distance(normal(0, n=80), normal(1, n=80, shift=0.5))
    replicates = kernel_replicates(normal(0, n=80), normal(1, n=80, shift=0.5), num_resamples=300)
    assert float(replicates.mean()) == pytest.approx(value, abs=0.25 * float(replicates.std()))
    fresh = torch.tensor(
        [kernel_distance(normal(2 * i, n=80), normal(2 * i + 1, n=80, shift=0.5)) for i in range(1, 150)]
    )
    assert 0.6 < float(replicates.std() / fresh.std()) < 1.6


def test_a_resample_of_one_row_alone_is_finite():
    replicates = kernel_replicates(normal(0, n=2), normal(1, n=2), num_resamples=40)
    assert replicates.isfinite().all()


def test_impossible_subsets_are_refused():
    with pytest.raises(UserError, match="cannot be drawn"):
        kernel_distance_of_subsets(normal(0), normal(1), subset_size=31)
    with pytest.raises(UserError, match="too few"):
        kernel_distance(normal(0, n=1), normal(1))
