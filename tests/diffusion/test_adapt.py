import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from melies.data.synthetic import GaussianTruth
from melies.diffusion import adapt
from melies.diffusion.adapt import FROM_X0, X0_FROM, Adapted, DiscreteClock, FlowClock
from melies.diffusion.ddpm import alpha_bars, cosine_betas, linear_betas
from melies.errors import UserError
from melies.interfaces import Denoiser

LEVELS = st.lists(st.floats(1e-2, 1e2), min_size=1, max_size=5)
ALPHA_BAR = alpha_bars(linear_betas(1000))
CLOCKS = {"discrete": DiscreteClock(ALPHA_BAR), "flow": FlowClock(), "flow1000": FlowClock(unit=1000.0)}


def pairs(count):
    x0, epsilon = torch.randn(2, count, 2, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return x0, epsilon


@given(levels=LEVELS)
def test_conversions_are_the_definitions(levels):
    sigma = torch.tensor(levels, dtype=torch.float64)
    x0, epsilon = pairs(len(levels))
    s = sigma[:, None, None]
    alpha_bar, x = 1 / (1 + s**2), x0 + s * epsilon
    v = alpha_bar.sqrt() * epsilon - (1 - alpha_bar).sqrt() * x0
    meant = {"x0": x0, "epsilon": epsilon, "v": v, "velocity": epsilon - x0}
    for name, prediction in meant.items():
        torch.testing.assert_close(X0_FROM[name](x, sigma, prediction), x0)
        torch.testing.assert_close(FROM_X0[name](x, sigma, x0), prediction)
    torch.testing.assert_close(adapt.score_from_x0(x, sigma, x0), -epsilon / s)


@given(levels=LEVELS)
def test_times_go_there_and_back(levels):
    sigma = torch.tensor(levels, dtype=torch.float64)
    back = adapt.sigma_from_alpha_bar(adapt.alpha_bar_from_sigma(sigma))
    torch.testing.assert_close(back, sigma, rtol=1e-9, atol=0)
    back = adapt.sigma_from_flow_time(adapt.flow_time_from_sigma(sigma))
    torch.testing.assert_close(back, sigma, rtol=1e-9, atol=0)
    clock = DiscreteClock(ALPHA_BAR)
    torch.testing.assert_close(clock.sigma(clock.time(sigma.clamp(min=0.011))), sigma.clamp(min=0.011))


@pytest.mark.parametrize("betas", [linear_betas(1000), cosine_betas(1000)])
def test_discrete_clock_reads_its_table(betas):
    alpha_bar = alpha_bars(betas)
    sigma = adapt.sigma_from_alpha_bar(alpha_bar)
    steps = torch.arange(1000, dtype=torch.float64)
    torch.testing.assert_close(DiscreteClock(alpha_bar).time(sigma), steps, atol=1e-6, rtol=0)
    # float32 levels, as a sampler may hand over, still mean the same timestep
    nearest = DiscreteClock(alpha_bar, rounding="nearest").time(sigma.float())
    assert torch.equal(nearest, steps.float())
    between = (sigma[10].log().lerp(sigma[11].log(), 0.3)).exp()[None]
    assert DiscreteClock(alpha_bar).time(between).item() == pytest.approx(10.3)
    outside = torch.tensor([0.0, 1e9], dtype=torch.float64)
    assert DiscreteClock(alpha_bar).time(outside).tolist() == [0, 999]


def test_bad_clocks_are_refused():
    with pytest.raises(ValueError, match="fall"):
        DiscreteClock(ALPHA_BAR.flip(0))
    with pytest.raises(UserError, match="nearest"):
        DiscreteClock(ALPHA_BAR, rounding="near")


class Exact:
    """The perfect network of a Gaussian for one prediction and clock, written in its own coordinates."""

    def __init__(self, truth, predicts, clock, extra=None):
        self.truth, self.predicts, self.clock, self.extra = truth, predicts, clock, extra

    def __call__(self, x, c_noise, condition, *, residuals=None, attention=None):
        if isinstance(self.clock, DiscreteClock):
            index = c_noise.round().long()
            signal, noise = ALPHA_BAR[index].sqrt(), (1 - ALPHA_BAR[index]).sqrt()
        else:
            noise = c_noise / self.clock.unit
            signal = 1 - noise
        signal, noise = signal[:, None], noise[:, None]
        mean, variance = self.truth.mean, self.truth.std**2
        gain = signal * variance / (signal**2 * variance + noise**2)
        x0 = mean + gain * (x - signal * mean)
        epsilon = (x - signal * x0) / noise
        v = (signal * epsilon - noise * x0) / torch.hypot(signal, noise)
        out = {"x0": x0, "epsilon": epsilon, "v": v, "velocity": epsilon - x0}
        chosen = out[self.predicts]
        return chosen if self.extra is None else torch.cat([chosen, self.extra], 1)


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
@pytest.mark.parametrize("predicts", X0_FROM)
def test_every_network_becomes_the_same_denoiser(predicts, clock):
    truth = GaussianTruth(mean=torch.tensor([0.5, -1.0], dtype=torch.float64), std=0.7)
    sigma = adapt.sigma_from_alpha_bar(ALPHA_BAR[[5, 300, 700]])
    x = 2 * torch.randn(3, 2, dtype=torch.float64)
    adapted = Adapted(Exact(truth, predicts, clock), predicts=predicts, clock=clock)
    torch.testing.assert_close(adapted(x, sigma, {}), truth(x, sigma), rtol=1e-6, atol=1e-6)
    assert isinstance(adapted, Denoiser)
    assert adapted(x.float(), sigma, {}).dtype == torch.float32


def test_extra_channels_come_through():
    truth = GaussianTruth(mean=torch.zeros(2, dtype=torch.float64), std=1.0)
    extra = torch.randn(1, 2, dtype=torch.float64)
    clock = DiscreteClock(ALPHA_BAR)
    x, sigma = torch.randn(1, 2, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    plain = Adapted(Exact(truth, "epsilon", clock), predicts="epsilon", clock=clock)
    learned = Adapted(Exact(truth, "epsilon", clock, extra), predicts="epsilon", clock=clock)
    torch.testing.assert_close(learned.predict(x, sigma, {}).extra, extra)
    assert plain.predict(x, sigma, {}).extra is None
    torch.testing.assert_close(learned(x, sigma, {}), plain(x, sigma, {}))


def test_wrong_networks_are_refused():
    def narrow(x, c_noise, condition, *, residuals=None, attention=None):
        return x[:, :1]

    adapted = Adapted(narrow, predicts="epsilon", clock=FlowClock())
    with pytest.raises(ValueError, match="1 channels for an input of 2"):
        adapted(torch.zeros(1, 2), torch.ones(1), {})
    with pytest.raises(UserError, match="epsilon"):
        Adapted(narrow, predicts="epsilom", clock=FlowClock())


def test_weights_of_the_network_are_weights_of_the_denoiser():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(()))

        def forward(self, x, c_noise, condition, *, residuals=None, attention=None):
            return self.gain * x

    adapted = Adapted(Network(), predicts="v", clock=FlowClock())
    assert list(adapted.state_dict()) == ["network.gain"]
