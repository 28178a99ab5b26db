import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.data.synthetic import GaussianTruth, MixtureTruth
from melies.interfaces import Denoiser

LEVELS = st.floats(0.01, 20)
GAUSSIAN = GaussianTruth(mean=torch.tensor([1.0, -2.0], dtype=torch.float64), std=0.5)
MIXTURE = MixtureTruth(
    weights=torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64),
    means=torch.tensor([[-2.0, 0.0], [2.0, 1.0], [0.0, 3.0]], dtype=torch.float64),
    stds=torch.tensor([0.3, 0.5, 0.8], dtype=torch.float64),
    classes=torch.tensor([0, 1, 1]),
)


def somewhere(count: int = 5) -> torch.Tensor:
    return 2 * torch.randn(count, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def gradient(log_density, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(log_density(x).sum(), x)[0]


@given(sigma=LEVELS)
def test_scores_are_the_gradients_of_the_log_densities(sigma):
    x, level = somewhere(), torch.full((5,), sigma, dtype=torch.float64)
    condition = {"class": torch.tensor([0, 1, 0, 1, 1])}
    torch.testing.assert_close(
        GAUSSIAN.score(x, level), gradient(lambda x: GAUSSIAN.log_density(x, level), x)
    )
    for given_ in ({}, condition):
        expected = gradient(lambda x, c=given_: MIXTURE.log_density(x, level, c), x)
        torch.testing.assert_close(MIXTURE.score(x, level, given_), expected)


@given(sigma=LEVELS)
def test_denoisers_obey_tweedie(sigma):
    x, level = somewhere(), torch.full((5,), sigma, dtype=torch.float64)
    torch.testing.assert_close(GAUSSIAN(x, level), x + sigma**2 * GAUSSIAN.score(x, level))
    torch.testing.assert_close(MIXTURE(x, level, {}), x + sigma**2 * MIXTURE.score(x, level, {}))


def test_density_integrates_to_one():
    axis = torch.linspace(-12, 12, 601, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    level = torch.full((len(points),), 0.7, dtype=torch.float64)
    for log_density in (GAUSSIAN.log_density(points, level), MIXTURE.log_density(points, level, {})):
        assert log_density.exp().sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=1e-6)


def test_transport_is_the_flow_of_the_ode():
    x = somewhere()
    fine = torch.linspace(3, 0.2, 4_001, dtype=torch.float64).tolist()
    moved = x
    for sigma, sigma_next in pairwise(fine):
        middle = torch.full((5,), (sigma + sigma_next) / 2, dtype=torch.float64)
        moved = moved - (sigma_next - sigma) * middle[:, None] * GAUSSIAN.score(moved, middle)
    torch.testing.assert_close(GAUSSIAN.transport(x, 3.0, 0.2), moved, atol=1e-3, rtol=1e-3)
    back = GAUSSIAN.transport(GAUSSIAN.transport(x, 3.0, 0.2), 0.2, 3.0)
    torch.testing.assert_close(back, x)


def test_one_component_is_the_gaussian():
    alone = MixtureTruth(
        weights=torch.ones(1, dtype=torch.float64),
        means=GAUSSIAN.mean[None],
        stds=torch.tensor([GAUSSIAN.std], dtype=torch.float64),
        classes=torch.zeros(1, dtype=torch.int64),
    )
    x, level = somewhere(), torch.full((5,), 0.9, dtype=torch.float64)
    torch.testing.assert_close(alone(x, level, {}), GAUSSIAN(x, level))
    torch.testing.assert_close(alone.log_density(x, level, {}), GAUSSIAN.log_density(x, level))


def test_bayes_holds_between_class_and_mixture():
    x, level = somewhere(), torch.full((5,), 0.9, dtype=torch.float64)
    ones = {"class": torch.ones(5, dtype=torch.int64)}
    joint = MIXTURE.log_density(x, level, ones) + math.log(0.5)
    found = (joint - MIXTURE.log_density(x, level, {})).exp()
    torch.testing.assert_close(MIXTURE.class_probability(x, level)[:, 1], found)


def test_absent_class_is_the_whole_mixture_row_by_row():
    x, level = somewhere(2), torch.ones(2, dtype=torch.float64)
    classes = {"class": torch.tensor([0, 0])}
    mixed = MIXTURE(x, level, {**classes, "present.class": torch.tensor([True, False])})
    torch.testing.assert_close(mixed[0], MIXTURE(x, level, classes)[0])
    torch.testing.assert_close(mixed[1], MIXTURE(x, level, {})[1])
    assert isinstance(MIXTURE, Denoiser)


def test_samples_have_the_moments():
    drawn = MIXTURE.sample(20_000, {}, torch.Generator().manual_seed(0))
    mean = (MIXTURE.weights[:, None] * MIXTURE.means).sum(0)
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.06, rtol=0)
    ones = MIXTURE.sample(2_000, {"class": torch.zeros(2_000, dtype=torch.int64)}, torch.Generator())
    torch.testing.assert_close(ones.mean(0), MIXTURE.means[0], atol=0.05, rtol=0)
    gaussian = GAUSSIAN.sample(20_000, torch.Generator().manual_seed(0))
    assert gaussian.std(0).mean() == pytest.approx(0.5, abs=0.01)


def test_bad_mixtures_are_refused():
    parts = {"means": torch.zeros(2, 1), "stds": torch.ones(2), "classes": torch.tensor([0, 1])}
    with pytest.raises(ValueError, match="sum to 1"):
        MixtureTruth(weights=torch.tensor([0.5, 0.6]), **parts)
    with pytest.raises(ValueError, match="no component"):
        MIXTURE(somewhere(1), torch.ones(1, dtype=torch.float64), {"class": torch.tensor([7])})
