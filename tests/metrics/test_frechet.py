import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.errors import UserError
from melies.metrics.frechet import frechet_distance, frechet_distance_of_features, frechet_replicates
from melies.metrics.moments import moments


def gaussian(seed, n=40, d=6, scale=1.0, shift=0.0):
    drawn = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mixed = torch.randn(d, d, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    return drawn @ mixed * scale + shift


@given(st.integers(1, 20), st.floats(-3, 3), st.floats(0, 3), st.floats(0, 3))
def test_isotropic_gaussians_have_a_closed_form(d, shift, std_a, std_b):
    eye = torch.eye(d, dtype=torch.float64)
    found = frechet_distance(torch.zeros(d), eye * std_a**2, torch.full((d,), shift), eye * std_b**2)
    assert found == pytest.approx(d * np.float32(shift) ** 2 + d * (std_a - std_b) ** 2, rel=1e-5, abs=1e-9)


def test_one_dimension_by_hand():
    found = frechet_distance(
        torch.tensor([1.0]), torch.tensor([[4.0]]), torch.tensor([4.0]), torch.tensor([[9.0]])
    )
    assert found == pytest.approx(9 + 1)


@pytest.mark.parametrize("n", [400, 20, 3], ids=["full rank", "rank 19 of 64", "rank 2 of 64"])
def test_distance_to_itself_is_zero(n):
    features = gaussian(0, n=n, d=64)
    assert frechet_distance_of_features(features, features) <= 1e-12 * float(
        moments(features).covariance.trace()
    )


def test_singular_covariances_keep_their_digits():
    """Orthogonal degenerate Gaussians share nothing, so the distance is the sum of the traces."""
    first, second = torch.zeros(300, dtype=torch.float64), torch.zeros(300, dtype=torch.float64)
    first[:100], second[100:200] = 1.0, 4.0
    turn, _ = torch.linalg.qr(
        torch.randn(300, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )
    found = frechet_distance(
        torch.zeros(300), turn @ first.diag() @ turn.T, torch.zeros(300), turn @ second.diag() @ turn.T
    )
    assert found == pytest.approx(500, abs=1e-8)


@pytest.mark.parity
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scipy(seed):
    a, b = moments(gaussian(seed)), moments(gaussian(seed + 10, scale=2.0, shift=0.3))
    root = scipy.linalg.sqrtm((a.covariance @ b.covariance).numpy())
    expected = (
        (a.mean - b.mean).square().sum() + (a.covariance + b.covariance).trace() - 2 * root.trace().real
    )
    found = frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
    assert found == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parity
def test_agrees_with_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Flatten(torch.nn.Module):
        num_features = 12

        def forward(self, images):
            return images.flatten(1)

    real, fake = gaussian(1, n=60, d=12).reshape(60, 3, 2, 2), gaussian(5, n=50, d=12).reshape(50, 3, 2, 2)
    reference = FrechetInceptionDistance(feature=Flatten(), normalize=True, input_img_size=(3, 2, 2))
    reference.set_dtype(torch.float64)
    reference.update(real, real=True)
    reference.update(fake, real=False)
    found = frechet_distance_of_features(fake.flatten(1), real.flatten(1))
    assert found == pytest.approx(float(reference.compute()), rel=1e-8)


@given(st.integers(0, 1000))
def test_symmetry_permutation_and_rotation(seed):
    a, b = gaussian(seed), gaussian(seed + 7, scale=0.5, shift=1.0)
    turn, _ = torch.linalg.qr(gaussian(seed + 3, n=6))
    value = frechet_distance_of_features(a, b)
    assert value > 0
    assert frechet_distance_of_features(b, a) == pytest.approx(value, rel=1e-9)
    assert frechet_distance_of_features(a.flip(0), b) == pytest.approx(value, rel=1e-9)
    assert frechet_distance_of_features(a @ turn + 5, b @ turn + 5) == pytest.approx(value, rel=1e-7)
    assert frechet_distance_of_features(a * 3, b * 3) == pytest.approx(9 * value, rel=1e-9)


def test_arrays_and_half_precision_are_accepted():
    a, b = gaussian(0).half(), gaussian(1).half()
    assert frechet_distance_of_features(a.numpy(), b.numpy()) == frechet_distance_of_features(a, b)
    assert frechet_distance_of_features(a, b) == frechet_distance_of_features(a.double(), b.double())


def test_a_replicate_is_the_distance_of_resampled_features():
    from melies.metrics.interval import draw_indices

    a, b = gaussian(0), gaussian(1, n=30)
    found = frechet_replicates(a, b, num_resamples=3, seed=4)
    drawn = zip(draw_indices(40, 3, 4, "generated"), draw_indices(30, 3, 4, "real"), strict=True)
    expected = [frechet_distance_of_features(a[i], b[j]) for i, j in drawn]
    assert found.tolist() == pytest.approx(expected, rel=1e-9)


def test_what_is_no_covariance_is_refused():
    eye, zero = torch.eye(2), torch.zeros(2)
    with pytest.raises(ValueError, match="semi-definite"):
        frechet_distance(zero, -eye, zero, eye)
    with pytest.raises(ValueError, match="expected"):
        frechet_distance(zero, eye, torch.zeros(3), eye)
    with pytest.raises(UserError, match="too few"):
        frechet_distance_of_features(torch.zeros(1, 2), torch.zeros(5, 2))


@pytest.mark.parametrize("smallest", [1e-3, 1e-9, 1e-13, 0.0])
def test_a_badly_conditioned_covariance_keeps_its_digits(smallest):
    """Covariances that share their axes: the distance is Σ (√a − √b)², however small some are."""
    turn, _ = torch.linalg.qr(gaussian(0, n=30, d=30))
    a = torch.logspace(0, -4, 30, dtype=torch.float64)
    b = a.flip(0)
    a[-10:], b[:10] = smallest, smallest
    zero = torch.zeros(30, dtype=torch.float64)
    found = frechet_distance(zero, turn @ a.diag() @ turn.T, zero, turn @ b.diag() @ turn.T)
    assert found == pytest.approx(float((a.sqrt() - b.sqrt()).square().sum()), rel=1e-9)
