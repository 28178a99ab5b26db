import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from melies.diffusion.precondition import Preconditioned, edm, flow, per_sample
from melies.interfaces import Denoiser

LEVELS = st.floats(1e-3, 1e3)


class Scaled(nn.Module):
    """A network that returns a multiple of its input, and remembers what it was told."""

    def __init__(self, channels: int = 3):
        super().__init__()
        self.layer = nn.Conv2d(3, channels, 1)

    def forward(self, x, c_noise, condition, *, residuals=None, attention=None):
        self.told = (x, c_noise)
        return self.layer(x.to(self.layer.weight.dtype))


@given(sigma=LEVELS, sigma_data=st.floats(0.05, 20))
def test_network_input_and_target_have_unit_variance(sigma, sigma_data):
    c = edm(torch.tensor([sigma], dtype=torch.float64), sigma_data)
    # Variances of independent x0 and ε add up, so they are written down, not sampled.
    of_input = c.c_in**2 * (sigma_data**2 + sigma**2)
    of_target = ((1 - c.c_skip) ** 2 * sigma_data**2 + c.c_skip**2 * sigma**2) / c.c_out**2
    assert of_input.item() == pytest.approx(1, rel=1e-9)
    assert of_target.item() == pytest.approx(1, rel=1e-9)


@given(sigma=LEVELS, sigma_data=st.floats(0.05, 20))
def test_flow_sees_the_straight_way_and_predicts_its_velocity(sigma, sigma_data):
    """At unit variance: (1 − t)·x0 + t·ε in, ε − x0 out, and x0 comes back."""
    x0, epsilon = 1.3 * sigma_data, -0.4
    c = flow(torch.tensor([sigma], dtype=torch.float64), sigma_data)
    t = c.c_noise.item()
    x = x0 + sigma * epsilon
    assert t == pytest.approx(sigma / sigma_data / (1 + sigma / sigma_data), rel=1e-9)
    assert c.c_in.item() * x == pytest.approx((1 - t) * x0 / sigma_data + t * epsilon, rel=1e-6, abs=1e-9)
    velocity = epsilon - x0 / sigma_data
    assert c.c_skip.item() * x + c.c_out.item() * velocity == pytest.approx(x0, rel=1e-6, abs=1e-6 * sigma)


@given(sigma=LEVELS)
def test_skip_makes_the_error_of_the_network_least(sigma):
    """c_out is smallest at the published c_skip (Karras et al. 2022, eq. 131)."""
    level = torch.tensor([sigma], dtype=torch.float64)
    c = edm(level, 0.7)

    def needed(skip):
        return (1 - skip) ** 2 * 0.7**2 + skip**2 * sigma**2

    assert needed(c.c_skip) <= needed(c.c_skip + 1e-3)
    assert needed(c.c_skip) <= needed(c.c_skip - 1e-3)
    assert needed(c.c_skip).item() == pytest.approx(c.c_out.item() ** 2, rel=1e-9)


def test_denoiser_is_the_sum_of_skip_and_network():
    network = Scaled().double()
    denoiser = Preconditioned(network, sigma_data=0.5)
    x, sigma = torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.tensor([0.1, 7.0], dtype=torch.float64)
    found = denoiser(x, sigma, {})
    c = edm(sigma, 0.5)
    seen = per_sample(c.c_in, x) * x
    torch.testing.assert_close(network.told[0], seen)
    torch.testing.assert_close(network.told[1], sigma.log() / 4)
    expected = per_sample(c.c_skip, x) * x + per_sample(c.c_out, x) * network.layer(seen)
    torch.testing.assert_close(found, expected)
    assert isinstance(denoiser, Denoiser)


def test_result_is_float32_under_autocast_and_exact_where_the_network_says_nothing():
    network = Scaled()
    nn.init.zeros_(network.layer.weight)
    nn.init.zeros_(network.layer.bias)
    denoiser = Preconditioned(network, sigma_data=1.0)
    x, sigma = torch.randn(2, 3, 4, 4), torch.tensor([1e-3, 1e-2])
    with torch.autocast("cpu", torch.bfloat16):
        found = denoiser(x, sigma, {})
    assert network.layer(torch.zeros(1, 3, 1, 1)).dtype == torch.float32
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, x / (1 + sigma.square())[:, None, None, None], rtol=1e-6, atol=0)


def test_extra_channels_are_refused():
    with pytest.raises(ValueError, match="learned variances"):
        Preconditioned(Scaled(6), sigma_data=1.0)(torch.randn(2, 3, 4, 4), torch.ones(2), {})
