"""Gaussians in closed form, against torch and against what masses must add up to."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from melies.gaussian import log_density, log_level_mass, standard_kl


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parity
def test_density_and_divergence_are_those_of_torch():
    x, mean, logvar = draws(4, 5), draws(4, 5, seed=1), 2 * draws(4, 5, seed=2)
    theirs = Normal(mean, (0.5 * logvar).exp())
    torch.testing.assert_close(log_density(x, mean, (0.5 * logvar).exp()), theirs.log_prob(x))
    torch.testing.assert_close(
        standard_kl(mean, logvar),
        kl_divergence(theirs, Normal(torch.zeros_like(mean), torch.ones_like(mean))),
    )


def test_the_divergence_is_what_draws_say():
    mean, logvar = torch.tensor([0.7, -1.2]).double(), torch.tensor([-1.0, 0.5]).double()
    x = mean + (0.5 * logvar).exp() * draws(400_000, 2)
    ones = torch.ones(2).double()
    drawn = log_density(x, mean, (0.5 * logvar).exp()) - log_density(x, 0 * ones, ones)
    error = drawn.std(0) / len(x) ** 0.5
    assert bool(((drawn.mean(0) - standard_kl(mean, logvar)).abs() < 4 * error).all())


@given(mean=st.floats(-2, 2), std=st.floats(1e-3, 2))
def test_masses_of_all_levels_sum_to_one(mean, std):
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    mass = log_level_mass(levels, torch.tensor(mean).double(), torch.tensor(std).double())
    assert bool(torch.isfinite(mass).all())
    assert mass.exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_a_level_of_a_wide_gaussian_has_its_density_times_its_width():
    x, mean, std = (
        torch.tensor(0.2).double() * 127 / 127.5,
        torch.tensor(0.1).double(),
        torch.tensor(0.5).double(),
    )
    width = torch.tensor(2 / 255).double()
    torch.testing.assert_close(
        log_level_mass(x, mean, std), log_density(x, mean, std) + width.log(), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("std", [1 / 255, 0.05, 1.0, 1e5])
@pytest.mark.parametrize("level", [-1.0, -0.2, 0.0, 0.6, 1.0])
def test_a_level_far_from_the_mean_still_pulls_at_it(std, level):
    mean = torch.tensor([-1.5, 1.5], requires_grad=True)
    mass = log_level_mass(torch.full((2,), level), mean, torch.tensor(std))
    (gradient,) = torch.autograd.grad(mass.sum(), mean)
    assert bool(torch.isfinite(mass).all())
    assert bool(torch.isfinite(gradient).all())
    if std <= 0.05 and abs(level) < 1:  # so far away that a difference of distribution functions is zero
        assert gradient[0] > 0 > gradient[1]
        torch.testing.assert_close(gradient, (level - mean.detach()) / std**2, rtol=0.05, atol=0)
