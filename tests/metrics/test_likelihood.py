"""Importance-weighted likelihood, where log p(x) is known: z ~ N(0, 1), x = Wz + s·ε."""

import itertools
import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from melies.errors import UserError
from melies.metrics.likelihood import (
    bits_per_dimension,
    importance_log_likelihood,
    measure_importance_likelihood,
    measure_likelihood,
    weight_sums,
)

WEIGHT = torch.tensor([[1.0, 0.3], [-0.5, 0.8], [0.2, -1.1]], dtype=torch.float64)
STD = 0.7


def pictures(n):
    covariance = WEIGHT @ WEIGHT.T + STD**2 * torch.eye(3, dtype=torch.float64)
    evidence = MultivariateNormal(torch.zeros(3, dtype=torch.float64), covariance)
    x = evidence.sample((n,))
    return x, evidence.log_prob(x)


def log_weights(x, k, *, mistake=0.0, wider=1.0):
    """log p(x, z) − log q(z|x), q the posterior moved by `mistake` and `wider` times as wide."""
    precision = torch.eye(2, dtype=torch.float64) + WEIGHT.T @ WEIGHT / STD**2
    covariance = precision.inverse()
    mean = x @ WEIGHT @ covariance.T / STD**2 + mistake
    q = MultivariateNormal(mean[:, None], covariance * wider**2)
    z = q.sample((k,))[..., 0, :].movedim(0, 1)
    joint = Normal(0, 1).log_prob(z).sum(-1) + Normal(z @ WEIGHT.T, STD).log_prob(x[:, None]).sum(-1)
    return joint - q.log_prob(z.movedim(1, 0)[:, :, None])[..., 0].T


@pytest.mark.parametrize("k", [1, 7])
def test_with_the_true_posterior_one_draw_is_the_evidence(k):
    x, evidence = pictures(20)
    sums = weight_sums(log_weights(x, k))
    torch.testing.assert_close(sums.log_likelihood, evidence)
    torch.testing.assert_close(sums.effective_draws, torch.full((20,), float(k), dtype=torch.float64))


def test_the_bound_rises_with_every_draw_and_reaches_the_evidence():
    """Burda et al. (2016), theorem 1; at k = 1 the gap is the KL of the two Gaussians."""
    x, evidence = pictures(4000)
    drawn = log_weights(x, 256, mistake=0.4, wider=1.3)
    means = [importance_log_likelihood(drawn[:, :k]).mean() for k in (1, 2, 4, 8, 16, 32, 64, 128, 256)]
    assert all(a < b for a, b in itertools.pairwise(means))
    precision = torch.eye(2, dtype=torch.float64) + WEIGHT.T @ WEIGHT / STD**2
    mistake = torch.full((2,), 0.4, dtype=torch.float64)
    kl = 1.3**2 - 1 - 2 * math.log(1.3) + 0.5 * float(mistake @ precision @ mistake)
    assert float(evidence.mean() - means[0]) == pytest.approx(kl, rel=0.1)
    assert float(evidence.mean() - means[-1]) == pytest.approx(0, abs=0.01)


def test_draws_add_up():
    x, _ = pictures(5)
    drawn = log_weights(x, 12, mistake=0.5)
    whole, parts = weight_sums(drawn), weight_sums(drawn[:, :5]) + weight_sums(drawn[:, 5:])
    assert parts.num_draws == 12
    torch.testing.assert_close(parts.log_likelihood, whole.log_likelihood)
    torch.testing.assert_close(parts.effective_draws, whole.effective_draws)
    with pytest.raises(ValueError, match="do not add up"):
        _ = whole + weight_sums(drawn[:2])


def test_weights_as_small_as_those_of_pictures_keep_their_digits():
    drawn = torch.tensor([[-2000.0, -2001.0]])
    expected = -2000 + math.log((1 + math.exp(-1)) / 2)
    assert float(importance_log_likelihood(drawn)[0]) == pytest.approx(expected, rel=1e-12)
    impossible = torch.tensor([[-math.inf, -3.0]])
    assert float(importance_log_likelihood(impossible)[0]) == pytest.approx(-3 - math.log(2))


def test_bits_by_hand():
    """Uniform over 256 levels is 8 bits, said as a probability and as the density ½ on [−1, 1]."""
    levels = torch.tensor([-12 * math.log(256)])
    assert float(bits_per_dimension(levels, 12)[0]) == pytest.approx(8)
    density = torch.tensor([12 * math.log(0.5)])
    found = bits_per_dimension(density, 12, level_width=2 / 256)
    assert float(found[0]) == pytest.approx(8)


def test_records_state_k_and_hold_the_evidence():
    x, evidence = pictures(300)
    sums = weight_sums(log_weights(x, 1000, mistake=0.3))
    nats, bits, effective = measure_importance_likelihood(sums, 3, name="nll, test")
    assert [m.name for m in (nats, bits, effective)] == [
        "nll, test, K = 1,000",
        "nll, test, K = 1,000, per dimension",
        "nll, test, K = 1,000, effective draws",
    ]
    error = 1.96 * float(evidence.std()) / math.sqrt(300)
    assert nats.interval == pytest.approx((nats.value - error, nats.value + error), abs=0.25 * error)
    assert nats.interval[0] < -float(evidence.mean()) < nats.interval[1]
    assert bits.value == pytest.approx(nats.value / 3 / math.log(2))
    assert (nats.unit, bits.unit, nats.higher_is_better, nats.num_samples) == ("nats", "bits", False, 300)
    assert 0.3 < effective.value < 1
    exact, _ = measure_likelihood(evidence, 3)
    assert exact.value == pytest.approx(-float(evidence.mean()))


def test_what_is_no_likelihood_is_refused():
    with pytest.raises(UserError, match="not finite"):
        weight_sums(torch.tensor([[0.0, math.nan]]))
    with pytest.raises(UserError, match="at least one draw"):
        weight_sums(torch.zeros(3, 0))
    with pytest.raises(UserError, match="1 of 2 samples"):
        measure_likelihood(torch.tensor([-1.0, -math.inf]), 3)
    with pytest.raises(UserError, match="num_dimensions"):
        bits_per_dimension(torch.zeros(2), 0)
