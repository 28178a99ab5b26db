"""A mixture's densities, denoisers and classifier against closed forms, and its branches under guidance."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from melies.diffusion.guidance.methods import guidance_of
from melies.diffusion.laboratory.mixture import branches_of, mixture
from melies.diffusion.noise import karras
from melies.diffusion.sample import heun
from melies.errors import UserError

LINE = mixture([0.3, 0.2, 0.5], [[-2.0], [0.5], [1.0]], [[[0.5]], [[0.1]], [[1.2]]], [0, 0, 1])
PLANE = mixture(
    [1.0, 3.0, 2.0],
    [[-1.0, 0.0], [1.0, 1.0], [0.0, -1.0]],
    [[[1.0, 0.6], [0.6, 0.5]], [[0.2, 0.0], [0.0, 0.9]], [[0.3, -0.1], [-0.1, 0.4]]],
    [0, 1, 0],
)


@pytest.mark.parametrize("sigma", [0.0, 0.7])
def test_density_is_that_of_torch(sigma):
    whole = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.tensor([1.0, 3.0, 2.0]).double()),
        torch.distributions.MultivariateNormal(
            PLANE.means,
            PLANE.axes @ torch.diag_embed(PLANE.variances) @ PLANE.axes.mT
            + sigma**2 * torch.eye(2, dtype=torch.float64),
        ),
    )
    x = torch.randn(50, 2, dtype=torch.float64)
    torch.testing.assert_close(PLANE.log_density(x, sigma), whole.log_prob(x))


def test_the_denoiser_of_one_gaussian_is_linear():
    one = mixture([1.0], [[3.0]], [[[4.0]]], [0])
    x = torch.tensor([[-1.0], [5.0]]).double()
    found = one.denoise(x, torch.tensor([2.0, 1.0]).double())
    torch.testing.assert_close(found, torch.tensor([[3 - 4 / 2], [3 + 2 * 4 / 5]]).double())


@given(st.floats(0.05, 20.0), st.floats(-5.0, 5.0), st.floats(-5.0, 5.0))
def test_the_denoiser_is_the_score(sigma, a, b):
    x = torch.tensor([[a, b]], dtype=torch.float64, requires_grad=True)
    (score,) = torch.autograd.grad(PLANE.log_density(x, sigma).sum(), x)
    denoised = PLANE.denoise(x.detach(), torch.tensor([sigma], dtype=torch.float64))
    torch.testing.assert_close(denoised, x.detach() + sigma**2 * score)


def test_the_classifier_is_bayes_rule():
    x = torch.randn(20, 2, dtype=torch.float64)
    joint = PLANE.log_joint(x, 0.3)
    torch.testing.assert_close(joint.logsumexp(1), PLANE.log_density(x, 0.3))
    share = PLANE.log_weights[PLANE.labels == 0].logsumexp(0)
    torch.testing.assert_close(joint[:, 0], share + PLANE.of_class(0).log_density(x, 0.3))


def test_moments_are_those_of_the_density():
    mean, covariance = LINE.moments()

    def density(x):
        return float(LINE.log_density(torch.tensor([[x]], dtype=torch.float64)).exp())

    first = integrate.quad(lambda x: x * density(x), -12, 12)[0]
    second = integrate.quad(lambda x: x * x * density(x), -12, 12)[0]
    assert float(mean) == pytest.approx(first)
    assert float(covariance) == pytest.approx(second - first**2)


def test_blurring_adds_noise():
    x = torch.randn(9, 2, dtype=torch.float64)
    torch.testing.assert_close(PLANE.blurred(0.4).log_density(x), PLANE.log_density(x, 0.4))


def test_sampling_without_guidance_draws_from_the_class():
    sigmas, told = karras(60, 0.002, 30.0), PLANE.of_class(0)
    x = 30.0 * torch.randn(4000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    drawn = heun(
        guidance_of("plain", 1.0).bind(branches_of(PLANE, 0, 4000, weaker_by=1.0), sigmas), x, sigmas
    )
    mean, covariance = told.moments()
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.06, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), covariance, atol=0.06, rtol=0)


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.5])
def test_the_exact_classifier_guides_as_the_two_scores_do(scale):
    branches, sigmas = branches_of(PLANE, 1, 6, weaker_by=1.0), karras(8, 0.01, 20.0)
    x, sigma = torch.randn(6, 2, dtype=torch.float64), torch.full((6,), 0.8, dtype=torch.float64)
    del branches["negative"]
    plain = guidance_of("plain", scale).bind(branches, sigmas)(x, sigma)
    torch.testing.assert_close(guidance_of("classifier", scale).bind(branches, sigmas)(x, sigma), plain)


@pytest.mark.parametrize("method", ["perturbed", "smoothed"])
def test_there_is_no_attention_to_edit(method):
    branches, sigmas = branches_of(PLANE, 0, 2, weaker_by=1.0), karras(4, 0.01, 20.0)
    denoise = guidance_of(method, 2.0).bind(branches, sigmas)
    with pytest.raises(UserError, match="no attention"):
        denoise(torch.zeros(2, 2, dtype=torch.float64), torch.ones(2, dtype=torch.float64))


def test_what_is_no_mixture():
    with pytest.raises(ValueError, match="as many"):
        mixture([1.0], [[0.0], [1.0]], [[[1.0]]], [0])
    with pytest.raises(ValueError, match="positive"):
        mixture([1.0], [[0.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]], [0])
    with pytest.raises(UserError, match="of class 7"):
        LINE.of_class(7)
    assert math.isclose(float(LINE.of_class(0).log_weights.exp().sum()), 1)
