import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.errors import UserError
from melies.metrics import features as features_module
from melies.metrics.neighbours import copied, nearest, nearest_others
from melies.metrics.prdc import prdc, prdc_samples


def normal(seed, n=40, d=5, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_four_points_on_a_line_by_hand():
    """k = 1. Real 0, 1, 3 have radii 1, 1, 2; generated 0.5 and 9 have radii 8.5 each."""
    found = prdc(torch.tensor([[0.5], [9.0]]), torch.tensor([[0.0], [1.0], [3.0]]), k=1)
    assert found.precision == 0.5
    assert found.recall == 1.0  # every real point is within 8.5 of 0.5
    assert found.density == pytest.approx(2 / 2)  # 0.5 is in the balls of 0 and 1, not of 3; 9 in none
    assert found.coverage == pytest.approx(2 / 3)


def test_far_apart_is_zero_and_alike_is_one():
    real = normal(0)
    assert prdc(real + 100, real) == (0, 0, 0, 0)
    same = prdc(real, real)
    assert same.precision == same.recall == same.coverage == 1


def test_copies_are_inside_balls_of_radius_zero():
    """Six copies of each of five rows: every radius is 0, and a copy is on the rim."""
    real = normal(0, n=5, d=64, shift=3.0).float().repeat(6, 1)
    found = prdc(real[torch.arange(29, -1, -1)], real, k=5)
    assert found.precision == found.recall == found.coverage == 1
    assert found.density == pytest.approx(6 / 5)  # each lies in the balls of all six
    assert prdc(real + 1e-3, real, k=5).precision == 0


@pytest.mark.parity
@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
def test_agrees_with_prdc(shift, capsys, monkeypatch):
    import prdc as reference
    import sklearn.metrics

    inner = sklearn.metrics.pairwise_distances  # the package asks for eight jobs
    monkeypatch.setattr(sklearn.metrics, "pairwise_distances", lambda *a, n_jobs=None, **k: inner(*a, **k))
    real, fake = normal(0, n=70), normal(1, n=50, shift=shift)
    expected = reference.compute_prdc(real.numpy(), fake.numpy(), nearest_k=4)
    assert prdc(fake, real, k=4)._asdict() == pytest.approx({k: float(v) for k, v in expected.items()})


def test_expected_density_and_coverage_on_one_distribution():
    """Exchangeability alone gives both means, whatever the distribution.

    A generated sample ranks among the k nearest of n with chance k/n, so density is 1; a ball
    stays empty when the k nearest of n − 1 real and m generated rows are all real.
    """
    n, m, k = 24, 16, 3
    found = [prdc(normal(2 * i, n=m, d=2), normal(2 * i + 1, n=n, d=2), k=k) for i in range(300)]
    expected = 1 - math.prod((n - 1 - i) / (n + m - 1 - i) for i in range(k))
    for values, truth in (([f.coverage for f in found], expected), ([f.density for f in found], 1.0)):
        assert np.mean(values) == pytest.approx(truth, abs=4 * np.std(values) / math.sqrt(len(values)))


@given(st.integers(0, 1000))
def test_permutation_rotation_shift_and_scale_change_nothing(seed):
    a, b = normal(seed), normal(seed + 1, n=30, shift=0.7)
    turn, _ = torch.linalg.qr(normal(seed + 2, n=5))
    found = prdc(a, b)
    assert prdc(a.flip(0), b.flip(0)) == pytest.approx(found)
    assert prdc(a @ turn * 2 + 30, b @ turn * 2 + 30) == pytest.approx(found)
    mirrored = prdc(b, a)
    assert mirrored.precision == pytest.approx(found.recall)
    assert mirrored.recall == pytest.approx(found.precision)


def test_samples_average_to_the_shares_and_blocks_do_not_matter(monkeypatch):
    a, b = normal(0), normal(1, n=33, shift=0.5)
    whole = prdc_samples(a, b)
    assert whole.precise.float().mean() == pytest.approx(prdc(a, b).precision)
    assert whole.covered.shape == whole.recalled.shape == (33,)
    monkeypatch.setattr(features_module, "_BLOCK", 64)
    for found, expected in zip(prdc_samples(a, b), whole, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parity
@pytest.mark.parametrize("block", [2**22, 64])
def test_nearest_agrees_with_sklearn(block, monkeypatch):
    from sklearn.neighbors import NearestNeighbors

    monkeypatch.setattr(features_module, "_BLOCK", block)
    queries, references = normal(0, shift=100.0), normal(1, n=77, shift=100.0)
    reference = NearestNeighbors(n_neighbors=4).fit(references)
    distances, indices = reference.kneighbors(queries)
    found = nearest(queries, references, 4)
    assert torch.equal(found.indices, torch.from_numpy(indices))
    torch.testing.assert_close(found.distances, torch.from_numpy(distances))
    others = nearest_others(references, 4)
    distances, indices = reference.kneighbors()
    assert torch.equal(others.indices, torch.from_numpy(indices[:, :4]))
    torch.testing.assert_close(others.distances, torch.from_numpy(distances[:, :4]))


def test_a_training_row_is_found_at_exactly_zero():
    training = torch.randn(50, 300) + 1000
    found = nearest(training[[7, 3]], training, 2)
    assert found.indices[:, 0].tolist() == [7, 3]
    assert found.distances[:, 0].tolist() == [0, 0]
    assert (found.distances[:, 1] > 1).all()


def test_a_second_copy_counts_as_another_row():
    points = torch.tensor([[0.0], [0.0], [5.0]])
    found = nearest_others(points)
    assert found.indices[:2, 0].tolist() == [1, 0]
    assert found.distances[:, 0].tolist() == [0, 0, 5]


def test_copies_stand_out_and_new_samples_do_not():
    training, held_out, new = normal(0, n=400, d=8), normal(1, n=400, d=8), normal(2, n=400, d=8)
    reference = nearest(held_out, training).distances[:, 0]
    assert copied(nearest(training[:50] + 1e-3, training).distances[:, 0], reference, percentile=1).all()
    share = copied(nearest(new, training).distances[:, 0], reference, percentile=10).double().mean()
    assert float(share) == pytest.approx(0.1, abs=0.06)


def test_too_few_rows_are_refused():
    with pytest.raises(UserError, match="5 nearest neighbours"):
        prdc(normal(0, n=5), normal(1))
    with pytest.raises(UserError, match="there are 3"):
        nearest(normal(0), normal(1, n=3), 4)
    with pytest.raises(ValueError, match="k ≥ 1"):
        nearest(normal(0), normal(1), 0)
