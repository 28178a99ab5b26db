import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.data.synthetic import MixtureTruth
from melies.diffusion import ddpm
from melies.diffusion.ddpm import Gaussian
from melies.errors import UserError

SCHEDULES = {
    "linear": ddpm.linear_betas(1000),
    "cosine": ddpm.cosine_betas(1000),
    "short": ddpm.linear_betas(20, first=1e-3, last=0.3),
}


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def at(t: int, count: int) -> torch.Tensor:
    return torch.full((count,), t)


def test_linear_schedule_by_hand():
    assert ddpm.linear_betas(3, first=0.1, last=0.3).tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert ddpm.alpha_bars(torch.tensor([0.1, 0.2, 0.3])).tolist() == pytest.approx([0.9, 0.72, 0.504])
    assert ddpm.alpha_bars_before(torch.tensor([0.1, 0.2, 0.3])).tolist() == pytest.approx([1, 0.9, 0.72])


def test_cosine_schedule_is_a_squared_cosine_until_it_is_cut():
    alpha_bar = ddpm.alpha_bars(SCHEDULES["cosine"])
    time = torch.arange(1, 999, dtype=torch.float64) / 1000
    cosine = ((time + 0.008) / 1.008 * math.pi / 2).cos() ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(alpha_bar[:998], cosine)
    assert SCHEDULES["cosine"].max() == 0.999


@pytest.mark.parity
@pytest.mark.parametrize(("ours", "theirs"), [("linear", "linear"), ("cosine", "squaredcos_cap_v2")])
def test_schedules_of_diffusers(ours, theirs):
    from diffusers import DDPMScheduler

    betas = DDPMScheduler(beta_schedule=theirs).betas
    torch.testing.assert_close(SCHEDULES[ours].float(), betas, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("betas", SCHEDULES.values(), ids=SCHEDULES)
def test_shortcut_is_all_the_steps_at_once(betas):
    x0, steps = draws(1, 4), min(len(betas), 30)
    noises = [draws(1, 4, seed=t).requires_grad_() for t in range(steps)]
    x = x0
    for t, epsilon in enumerate(noises):
        x = ddpm.q_step(x, at(t, 1), betas, epsilon)
    # x is linear in the independent noises: the squares of their factors are the variance.
    factors = torch.stack([g.mean() for g in torch.autograd.grad(x.sum(), noises)])
    last = at(steps - 1, 1)
    shortcut = ddpm.q_sample(x0, last, betas, torch.ones_like(x0)) - ddpm.q_sample(x0, last, betas, 0 * x0)
    torch.testing.assert_close(factors.square().sum().sqrt().expand(1, 4), shortcut)
    still = x0
    for t in range(steps):
        still = ddpm.q_step(still, at(t, 1), betas, 0 * x0)
    torch.testing.assert_close(still, ddpm.q_sample(x0, last, betas, 0 * x0))


@given(t=st.integers(1, 999), name=st.sampled_from(["linear", "cosine"]))
def test_posterior_is_bayes_rule(t, name):
    betas = SCHEDULES[name]
    x0, x = draws(2, 3), draws(2, 3, seed=1)
    found = ddpm.q_posterior(x0, x, at(t, 2), betas)
    beta, before = betas[t], ddpm.alpha_bars(betas)[t - 1]
    precision = 1 / (1 - before) + (1 - beta) / beta  # of x_{t−1}: from x0 forward, from x_t back
    mean = (before.sqrt() * x0 / (1 - before) + (1 - beta).sqrt() * x / beta) / precision
    torch.testing.assert_close(found.mean, mean, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(found.variance.flatten(), (1 / precision).expand(2), rtol=1e-6, atol=0)


@given(t=st.integers(0, 999), name=st.sampled_from(["linear", "cosine"]))
def test_reverse_mean_is_the_posterior_mean_at_the_predicted_x0(t, name):
    betas = SCHEDULES[name]
    x, epsilon = draws(2, 3), draws(2, 3, seed=1)
    x0 = ddpm.predicted_x0(x, at(t, 2), betas, epsilon)
    expected = ddpm.q_posterior(x0, x, at(t, 2), betas).mean
    torch.testing.assert_close(ddpm.reverse_mean(x, at(t, 2), betas, epsilon), expected)
    torch.testing.assert_close(ddpm.q_sample(x0, at(t, 2), betas, epsilon), x)


def exact_reverse(x, t, betas, variance):
    """p(x_{t−1} | x_t) of data N(0, variance), from the joint Gaussian of both."""
    before, beta = ddpm.alpha_bars_before(betas)[t], betas[t]
    earlier = before * variance + 1 - before
    later = (1 - beta) * earlier + beta
    return Gaussian((1 - beta).sqrt() * earlier / later * x, earlier * beta / later)


@pytest.mark.parametrize("t", [1, 10, 500, 999])
def test_fixed_variances_are_right_at_the_two_extremes(t):
    betas, x = SCHEDULES["linear"], draws(1, 2)
    point, normal = exact_reverse(x, t, betas, 0.0), exact_reverse(x, t, betas, 1.0)
    torch.testing.assert_close(ddpm.fixed_small(betas)[t], point.variance)
    torch.testing.assert_close(ddpm.fixed_large(betas)[t], normal.variance)
    between = exact_reverse(x, t, betas, 0.3).variance
    assert point.variance < between < normal.variance


@given(t=st.integers(1, 999), v=st.floats(-1, 1))
def test_learned_variance_lies_between_them(t, v):
    betas = SCHEDULES["linear"]
    small, large = ddpm.fixed_small(betas)[t], ddpm.fixed_large(betas)[t]
    found = ddpm.learned_variance(torch.full((1, 1), v, dtype=torch.float64), at(t, 1), betas)
    torch.testing.assert_close(found.item(), float(small ** ((1 - v) / 2) * large ** ((1 + v) / 2)))
    assert small * (1 - 1e-9) <= found <= large * (1 + 1e-9)


def test_learned_variance_is_finite_at_the_first_timestep():
    betas = SCHEDULES["linear"]
    found = ddpm.learned_variance(-torch.ones(1, 1, dtype=torch.float64), at(0, 1), betas)
    torch.testing.assert_close(found.squeeze(), ddpm.fixed_small(betas)[1])


def test_last_reverse_step_adds_no_noise():
    reverse = Gaussian(draws(2, 3), torch.ones(2, 3, dtype=torch.float64))
    found = ddpm.reverse_step(reverse, torch.tensor([0, 5]), draws(2, 3, seed=1))
    torch.testing.assert_close(found[0], reverse.mean[0])
    torch.testing.assert_close(found[1], reverse.mean[1] + draws(2, 3, seed=1)[1])


# For small β the reverse step is Gaussian too

MIXTURE = MixtureTruth(
    weights=torch.tensor([0.3, 0.7], dtype=torch.float64),
    means=torch.tensor([[-1.0], [0.8]], dtype=torch.float64),
    stds=torch.tensor([0.3, 0.2], dtype=torch.float64),
    classes=torch.tensor([0, 1]),
)


def reverse_kernel(beta: float, x: float, before: float):
    """Exact p(x_{t−1} | x_t = x) on a grid, for x_{t−1} made of the mixture at ᾱ_{t−1} = before."""
    grid = torch.linspace(-6, 6, 60_001, dtype=torch.float64)
    level = torch.full_like(grid, math.sqrt((1 - before) / before))
    log_prior = MIXTURE.log_density((grid / math.sqrt(before))[:, None], level, {})
    log_likelihood = -0.5 * (x - math.sqrt(1 - beta) * grid) ** 2 / beta
    return grid, (log_prior + log_likelihood).softmax(0)


def moments(grid, mass):
    mean = (mass * grid).sum()
    variance = (mass * (grid - mean) ** 2).sum()
    kurtosis = (mass * (grid - mean) ** 4).sum() / variance**2 - 3
    return mean, variance, kurtosis


def distance_from_gaussian(beta: float, before: float) -> tuple[float, float]:
    """Largest total variation and |excess kurtosis| over x_t, against the Gaussian of equal moments."""
    distances, kurtoses = [], []
    for x in (-1.0, -0.3, 0.1, 0.9):
        grid, mass = reverse_kernel(beta, x, before)
        mean, variance, kurtosis = moments(grid, mass)
        gaussian = (-0.5 * (grid - mean) ** 2 / variance).softmax(0)
        distances.append(float((mass - gaussian).abs().sum() / 2))
        kurtoses.append(abs(float(kurtosis)))
    return max(distances), max(kurtoses)


def test_reverse_step_becomes_gaussian_as_beta_shrinks():
    betas = (0.64, 0.16, 0.04, 0.01, 0.0025)
    found = [distance_from_gaussian(beta, before=0.8) for beta in betas]
    for (distance, kurtosis), (smaller, flatter) in pairwise(found[1:]):
        assert smaller < distance / 2
        assert flatter < kurtosis / 2
    assert found[0][0] > 0.1
    assert found[-1][0] < 1e-3
    assert found[-1][1] < 1e-3


def test_its_mean_is_the_ddpm_mean_and_its_variance_lies_between_the_fixed_ones():
    before, x = 0.8, 0.1
    for beta in (0.3, 0.01):
        betas = torch.tensor([1 - before, beta], dtype=torch.float64)  # a schedule of two steps
        mean, variance, _ = moments(*reverse_kernel(beta, x, before))
        alpha_bar = before * (1 - beta)
        sigma = torch.tensor([math.sqrt((1 - alpha_bar) / alpha_bar)], dtype=torch.float64)
        x_t = torch.tensor([[x]], dtype=torch.float64)
        x0 = MIXTURE(x_t / math.sqrt(alpha_bar), sigma, {})
        expected = ddpm.q_posterior(x0, x_t, at(1, 1), betas)
        assert mean.item() == pytest.approx(expected.mean.item(), abs=1e-6)
        assert variance >= ddpm.fixed_small(betas)[1]


# Losses


def test_simple_loss_by_hand():
    assert ddpm.simple_loss(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]])).tolist() == [2.5]


def test_kl_is_that_of_torch():
    p, q = Gaussian(draws(5), draws(5, seed=1).exp()), Gaussian(draws(5, seed=2), draws(5, seed=3).exp())

    def normal(gaussian):
        return torch.distributions.Normal(gaussian.mean, gaussian.variance.sqrt())

    torch.testing.assert_close(
        ddpm.gaussian_kl(p, q), torch.distributions.kl_divergence(normal(p), normal(q))
    )


def bound(variance_of, betas, spread, count=4000):
    """The whole variational bound of data N(0, spread²) with exact reverse means, nats per element."""
    generator = torch.Generator().manual_seed(0)
    x0 = spread * torch.randn(count, 8, generator=generator, dtype=torch.float64)
    alpha_bar = ddpm.alpha_bars(betas)
    last = alpha_bar[-1]
    prior = Gaussian(torch.zeros_like(x0), last * spread**2 + 1 - last)
    total = ddpm.gaussian_kl(Gaussian(last.sqrt() * x0, 1 - last), prior).mean()
    for t in range(len(betas)):
        epsilon = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
        x = ddpm.q_sample(x0, at(t, count), betas, epsilon)
        exact = exact_reverse(x, t, betas, spread**2)
        reverse = Gaussian(exact.mean, variance_of(t, exact).expand_as(x))
        posterior = ddpm.q_posterior(x0, x, at(t, count), betas)
        total = total + ddpm.bound_term(posterior, reverse, x0, at(t, count)).mean()
    return total.item()


def test_bound_is_the_entropy_where_the_reverse_is_exact():
    """Linear-Gaussian: the ELBO equals the evidence, whose mean is minus the entropy of the data."""
    betas, spread = SCHEDULES["short"], 0.25
    entropy = 0.5 * math.log(2 * math.pi * math.e * spread**2) + math.log(255 / 2)  # of 256 levels in [−1, 1]
    exact = bound(lambda t, reverse: reverse.variance, betas, spread)
    assert exact == pytest.approx(entropy, abs=0.02)
    small = torch.cat([ddpm.fixed_small(betas)[1:2], ddpm.fixed_small(betas)[1:]])
    for fixed in (small, ddpm.fixed_large(betas)):
        assert bound(lambda t, reverse, fixed=fixed: fixed[t], betas, spread) > exact + 0.01


def test_gradient_of_the_bound_is_finite_at_every_timestep():
    betas = SCHEDULES["linear"]
    t = torch.tensor([0, 1, 500, 999])
    x0 = draws(4, 6).clamp(-1, 1)
    x = ddpm.q_sample(x0, t, betas, draws(4, 6, seed=1))
    raw = torch.zeros(4, 6, dtype=torch.float64, requires_grad=True)
    reverse = Gaussian(
        ddpm.reverse_mean(x, t, betas, draws(4, 6, seed=2)), ddpm.learned_variance(raw, t, betas)
    )
    terms = ddpm.bound_term(ddpm.q_posterior(x0, x, t, betas), reverse, x0, t)
    (gradient,) = torch.autograd.grad(terms.sum(), raw)
    assert terms.shape == (4,)
    assert bool(torch.isfinite(gradient).all())
    assert bool((gradient.abs().sum(1) > 0).all())


def test_bad_schedules_are_refused():
    for bad in (
        {"num_steps": 0},
        {"num_steps": 5, "first": 0.0},
        {"num_steps": 5, "first": 0.3, "last": 0.1},
    ):
        with pytest.raises(UserError):
            ddpm.linear_betas(**bad)
    with pytest.raises(UserError):
        ddpm.cosine_betas(10, offset=-1.0)
