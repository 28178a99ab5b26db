import functools
import math

import numpy as np
import pytest
import torch

from melies.data.synthetic import GaussianTruth, MixtureTruth
from melies.diffusion import SAMPLERS
from melies.diffusion.noise import karras, without_zero
from melies.diffusion.sample import ddim, ddpm, dpmpp, euler, heun
from melies.interfaces import Sampler
from melies.optional import import_from
from melies.rng import noise_for

ALL = {name: import_from(path) for name, path in SAMPLERS.items()}
ALL["ddim-eta"] = functools.partial(ddim, eta=0.5)
DETERMINISTIC = {"euler": euler, "ddim": ddim, "heun": heun, "dpmpp": dpmpp}

TRUTH = GaussianTruth(mean=torch.tensor([1.0, -3.0], dtype=torch.float64), std=0.5)
MIXTURE = MixtureTruth(
    weights=torch.tensor([0.25, 0.75], dtype=torch.float64),
    means=torch.tensor([[-2.0, 0.0], [2.0, 1.0]], dtype=torch.float64),
    stds=torch.tensor([0.1, 0.2], dtype=torch.float64),
    classes=torch.tensor([0, 1]),
)


def start(sigmas: torch.Tensor, count: int = 6) -> torch.Tensor:
    noise = torch.randn(count, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return noise * math.sqrt(sigmas[0] ** 2 + TRUTH.std**2) + TRUTH.mean


def measured_order(sampler) -> float:
    """Slope of log error against log number of steps, against the exact transport."""
    counts, errors = (32, 64, 128, 256), []
    for count in counts:
        sigmas = without_zero(karras(count + 1, 0.05, 10.0))
        x = start(sigmas)
        exact = TRUTH.transport(x, 10.0, 0.05)
        errors.append(float((sampler(TRUTH, x, sigmas) - exact).abs().max()))
    return -np.polyfit(np.log(counts), np.log(errors), 1)[0]


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("ddim", 1), ("heun", 2), ("dpmpp", 2)])
def test_error_shrinks_at_the_order_of_the_method(name, order):
    assert measured_order(DETERMINISTIC[name]) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("sampler", DETERMINISTIC.values(), ids=DETERMINISTIC)
def test_a_single_point_is_reached_exactly(sampler):
    point = GaussianTruth(mean=TRUTH.mean, std=0.0)
    sigmas = karras(7, 0.1, 20.0)
    torch.testing.assert_close(sampler(point, start(sigmas), sigmas), TRUTH.mean.expand(6, 2))


def test_ddim_without_renewal_is_euler():
    sigmas = karras(9, 0.05, 10.0)
    torch.testing.assert_close(ddim(TRUTH, start(sigmas), sigmas), euler(TRUTH, start(sigmas), sigmas))


def test_ddim_with_full_renewal_is_ddpm():
    sigmas, noise = karras(9, 0.05, 10.0), noise_for(range(6))
    full = functools.partial(ddim, eta=1.0)
    torch.testing.assert_close(
        full(TRUTH, start(sigmas), sigmas, noise=noise), ddpm(TRUTH, start(sigmas), sigmas, noise=noise)
    )


@pytest.mark.parametrize("sampler", [ddpm, functools.partial(ddim, eta=0.5)], ids=["ddpm", "ddim-eta"])
def test_stochastic_samplers_reach_the_distribution(sampler):
    sigmas, count = karras(120, 0.02, 20.0), 20_000
    x = start(sigmas, count)
    drawn = sampler(TRUTH, x, sigmas, noise=noise_of(torch.Generator().manual_seed(9)))
    torch.testing.assert_close(drawn.mean(0), TRUTH.mean, atol=0.02, rtol=0)
    torch.testing.assert_close(drawn.std(0), torch.full((2,), 0.5, dtype=torch.float64), atol=0.02, rtol=0)


def noise_of(generator):
    return lambda step, like: torch.randn(like.shape, generator=generator, dtype=like.dtype)


# Conformance: every sampler of the table


@pytest.mark.parametrize("sampler", ALL.values(), ids=ALL)
def test_samples_fall_into_the_modes_in_their_shares(sampler):
    sigmas = karras(30, 0.02, 20.0)
    x = 20 * torch.randn(2_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = sampler(
        lambda x, s: MIXTURE(x, s, {}), x, sigmas, noise=noise_of(torch.Generator().manual_seed(1))
    )
    distance = torch.cdist(drawn, MIXTURE.means).min(1)
    assert (distance.values < 1.0).float().mean() > 0.99
    assert (distance.indices == 0).float().mean() == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("sampler", ALL.values(), ids=ALL)
def test_contract(sampler):
    sigmas, seen = karras(6, 0.05, 10.0), []
    x = start(sigmas).float()
    kept = x.clone()
    truth = GaussianTruth(mean=TRUTH.mean.float(), std=0.5)

    def denoise(x, sigma):
        assert x.shape == (6, 2)
        assert sigma.shape == (6,)
        assert not torch.is_grad_enabled()
        seen.append(float(sigma[0]))
        return truth(x, sigma)

    assert isinstance(sampler, Sampler)
    noise = noise_for(range(6))
    drawn = sampler(denoise, x, sigmas, noise=noise)
    assert drawn.dtype == torch.float32
    assert torch.equal(x, kept)
    assert torch.equal(drawn, sampler(denoise, x, sigmas, noise=noise))
    assert seen[0] == 10.0
    assert all(sigma > 0 for sigma in seen)
    calls = len(seen) // 2
    assert sorted(seen[:calls], reverse=True) == seen[:calls]
    assert calls == (11 if sampler is heun else 6)


@pytest.mark.parametrize("sampler", ALL.values(), ids=ALL)
def test_samples_do_not_depend_on_their_batch(sampler):
    sigmas, seeds = karras(8, 0.05, 10.0), (7, 8, 9)
    x = start(sigmas, 3)
    together = sampler(TRUTH, x, sigmas, noise=noise_for(seeds))
    alone = sampler(TRUTH, x[1:2], sigmas, noise=noise_for(seeds[1:2]))
    assert torch.equal(together[1:2], alone)


@pytest.mark.parametrize("sampler", ALL.values(), ids=ALL)
def test_one_step_to_zero_is_the_denoiser(sampler):
    sigmas = karras(1, 0.05, 10.0)
    x = start(sigmas)
    found = sampler(TRUTH, x, sigmas, noise=noise_for(range(6)))
    torch.testing.assert_close(found, TRUTH(x, torch.full((6,), 10.0, dtype=torch.float64)))


@pytest.mark.parametrize("sampler", ALL.values(), ids=ALL)
def test_a_classifier_may_take_its_gradient_inside(sampler):
    sigmas = karras(4, 0.05, 10.0)

    def pulled(x, sigma):
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(TRUTH.log_density(leaf, sigma).sum(), leaf)
        return x + sigma[:, None].square() * gradient  # Tweedie: the same denoiser

    noise = noise_for(range(6))
    x = start(sigmas)
    torch.testing.assert_close(
        sampler(pulled, x, sigmas, noise=noise), sampler(TRUTH, x, sigmas, noise=noise)
    )


def test_noise_is_asked_for_where_it_is_needed():
    sigmas = karras(4, 0.05, 10.0)
    with pytest.raises(ValueError, match="noise="):
        ddpm(TRUTH, start(sigmas), sigmas)
    with pytest.raises(ValueError, match="noise="):
        ddim(TRUTH, start(sigmas), sigmas, eta=0.3)
