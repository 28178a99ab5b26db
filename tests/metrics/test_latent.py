import math

import pytest
import torch

from melies.errors import UserError
from melies.metrics.latent import active_units, kl_per_dimension, latent_use, measure_latent_use


def posteriors(n=400, stds=(1.0, 0.101, 0.099, 0.0), logvar=(-3.0, -1.0, 0.0, 0.0)):
    """Posterior means with the given deviations over the data, exactly."""
    means = torch.randn(n, len(stds), dtype=torch.float64)
    means = (means - means.mean(0)) / means.std(0) * torch.tensor(stds, dtype=torch.float64)
    return means, torch.tensor(logvar, dtype=torch.float64).expand(n, -1)


def test_kl_by_hand():
    """½(σ² − 1 − log σ²) + ½·mean of squared means."""
    means, logvars = posteriors()
    expected = [0.5 * (math.exp(v) - 1 - v) for v in (-3.0, -1.0, 0.0, 0.0)]
    expected = [e + 0.5 * s**2 * 399 / 400 for e, s in zip(expected, (1.0, 0.101, 0.099, 0.0), strict=True)]
    assert kl_per_dimension(means, logvars).tolist() == pytest.approx(expected)


def test_units_are_active_from_a_variance_of_one_hundredth():
    means, logvars = posteriors()
    assert active_units(means + 5).tolist() == [True, True, False, False]
    assert active_units(means, threshold=0.5).tolist() == [True, False, False, False]
    found = latent_use(means, logvars)
    assert found.statement == "2 of 4 latent elements have collapsed to the prior"
    assert latent_use(means[:, :2], logvars[:, :2]).statement == "all 2 latent elements are active"
    collapsed = latent_use(means[:, 2:], logvars[:, 2:])
    assert collapsed.statement == "the posterior has collapsed: none of 2 latent elements is active"


def test_the_kl_of_a_linear_gaussian_encoder_is_its_information():
    """x ~ N(0, 1) and q = N(ax, 1 − a²): KL to the aggregate N(0, 1) is the mutual information."""
    a = 0.8
    x = torch.randn(20_000, 1, dtype=torch.float64)
    found = kl_per_dimension(a * x, torch.full_like(x, math.log(1 - a**2)))
    assert float(found[0]) == pytest.approx(-0.5 * math.log(1 - a**2), rel=0.03)


def test_records_hold_what_is_measured():
    means, logvars = posteriors()
    units, kl = measure_latent_use(means, logvars)
    assert units.value == 2
    assert 1 <= units.interval[0] <= 2 <= units.interval[1] <= 4
    assert units.interval != (2, 2)  # two are near the limit
    assert kl.value == pytest.approx(float(kl_per_dimension(means, logvars).sum()))
    assert kl.interval[0] < kl.value < kl.interval[1]
    assert (units.unit, kl.unit) == ("units", "nats")


def test_what_is_no_posterior_is_refused():
    means, logvars = posteriors()
    with pytest.raises(UserError, match="size 0"):
        latent_use(means[:, :0], logvars[:, :0])
    with pytest.raises(UserError, match="not finite"):
        kl_per_dimension(means, logvars / 0)
    with pytest.raises(UserError, match="too few"):
        active_units(means[:1])
