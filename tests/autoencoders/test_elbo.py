"""The bound against evidence that is known, and each of its terms against its definition."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.autoencoders.elbo import Posterior, beta_loss, elbo, free_bits, log_ratio
from melies.gaussian import log_density


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5))
def test_the_ratio_is_that_of_prior_and_posterior_at_the_draws(n, k, d):
    posterior, epsilon = Posterior(draws(n, d), draws(n, d, seed=1)), draws(n, k, d, seed=2)
    latents, ratio = log_ratio(posterior, epsilon)
    mean, std = posterior.mean[:, None], (0.5 * posterior.logvar).exp()[:, None]
    torch.testing.assert_close(latents[:, 0], posterior.draw(epsilon[:, 0]))
    one = torch.ones(1, dtype=torch.float64)
    expected = log_density(latents, 0 * one, one) - log_density(latents, mean, std)
    torch.testing.assert_close(ratio, expected.sum(-1))


def test_the_mean_ratio_is_minus_the_divergence():
    posterior = Posterior(draws(2, 3), draws(2, 3, seed=1))
    _, ratio = log_ratio(posterior, draws(2, 100_000, 3, seed=2))
    error = ratio.std(1) / math.sqrt(ratio.shape[1])
    assert bool(((-ratio.mean(1) - posterior.kl().sum(1)).abs() < 4 * error).all())


def test_a_draw_passes_its_gradient_to_mean_and_variance():
    mean, logvar = draws(1, 2).requires_grad_(), draws(1, 2, seed=1).requires_grad_()
    epsilon = draws(1, 2, seed=2)
    by_mean, by_logvar = torch.autograd.grad(Posterior(mean, logvar).draw(epsilon).sum(), (mean, logvar))
    torch.testing.assert_close(by_mean, torch.ones_like(mean))
    torch.testing.assert_close(by_logvar, 0.5 * (0.5 * logvar).exp().detach() * epsilon)


def test_the_loss_is_minus_the_bound_and_beta_weighs_the_divergence():
    log_likelihood, kl = draws(6), draws(6, 3).square()
    torch.testing.assert_close(beta_loss(log_likelihood, kl), -elbo(log_likelihood, kl).mean())
    torch.testing.assert_close(beta_loss(log_likelihood, kl, beta=0.0), -log_likelihood.mean())
    four = beta_loss(log_likelihood, kl, beta=4.0)
    torch.testing.assert_close(four, 4 * kl.sum(1).mean() - log_likelihood.mean())


def test_free_bits_are_a_floor_for_the_mean_of_each_element():
    kl = torch.tensor([[0.0, 1.0], [0.2, 3.0]], requires_grad=True)
    found = free_bits(kl, 0.5)
    assert found.tolist() == [0.5, 2.0]
    (gradient,) = torch.autograd.grad(found.sum(), kl)
    assert gradient.tolist() == [[0.0, 0.5], [0.0, 0.5]]  # below the floor nothing pulls
    assert float(beta_loss(torch.zeros(2), kl.detach(), beta=2.0, floor=0.5)) == pytest.approx(5.0)
    torch.testing.assert_close(free_bits(kl, 0.0), kl.mean(0))
