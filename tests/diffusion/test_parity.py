"""Samplers and DDPM equations against diffusers: same timesteps, network and noise, in float64."""

import functools

import pytest
import torch

from melies.data.synthetic import MixtureTruth
from melies.diffusion import ddpm
from melies.diffusion.adapt import sigma_from_alpha_bar
from melies.diffusion.noise import from_timesteps
from melies.diffusion.sample import ddim, dpmpp
from melies.diffusion.sample import ddpm as ancestral

pytestmark = pytest.mark.parity

MIXTURE = MixtureTruth(
    weights=torch.tensor([0.4, 0.6], dtype=torch.float64),
    means=torch.tensor([[-1.0, 0.2, 0.5], [0.8, -0.5, 0.0]], dtype=torch.float64),
    stds=torch.tensor([0.3, 0.4], dtype=torch.float64),
    classes=torch.tensor([0, 1]),
)
BETAS = {"linear": ddpm.linear_betas(1000), "cosine": ddpm.cosine_betas(1000)}


def denoise(x, sigma):
    return MIXTURE(x, sigma, {})


def epsilon_at(x_t, t: int, alpha_bar):
    """The perfect ε-network of the mixture, in the coordinates of diffusers."""
    x = x_t / alpha_bar[t].sqrt()
    sigma = sigma_from_alpha_bar(alpha_bar[t]).expand(len(x))
    return (x - denoise(x, sigma)) / sigma[:, None]


def prepared(cls, betas, num_steps: int, **options):
    """A scheduler of diffusers in float64, and ᾱ; its own table is computed in float32."""
    scheduler = cls(num_train_timesteps=len(betas), **options)
    scheduler.betas = betas
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = ddpm.alpha_bars(scheduler.betas)
    scheduler.one = torch.tensor(1.0, dtype=torch.float64)
    scheduler.set_timesteps(num_steps)
    return scheduler, scheduler.alphas_cumprod


def theirs(scheduler, alpha_bar, x, **options):
    for t in scheduler.timesteps:
        x = scheduler.step(epsilon_at(x, int(t), alpha_bar), t, x, **options).prev_sample
    return x


def drawing(seed: int):
    generator = torch.Generator().manual_seed(seed)
    return lambda step, like: torch.randn(like.shape, generator=generator, dtype=like.dtype)


def compare(sampler, scheduler, alpha_bar, seed=11, **options):
    """Run both from one x_t at the first timestep."""
    noise = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sigmas = from_timesteps(alpha_bar, scheduler.timesteps)
    x = sigmas[0] * noise
    first = alpha_bar[int(scheduler.timesteps[0])]
    expected = theirs(scheduler, alpha_bar, first.sqrt() * x, **options)
    found = sampler(denoise, x, sigmas, noise=drawing(seed))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert expected.abs().max() > 0.3  # somewhere in the data, not at 0


@pytest.mark.parametrize("num_steps", [10, 50, 250])
@pytest.mark.parametrize("schedule", BETAS)
def test_ddpm(schedule, num_steps):
    from diffusers import DDPMScheduler

    scheduler, alpha_bar = prepared(DDPMScheduler, BETAS[schedule], num_steps, clip_sample=False)
    compare(ancestral, scheduler, alpha_bar, generator=torch.Generator().manual_seed(11))


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("schedule", BETAS)
def test_ddim(schedule, eta):
    from diffusers import DDIMScheduler

    scheduler, alpha_bar = prepared(DDIMScheduler, BETAS[schedule], 20, clip_sample=False)
    scheduler.final_alpha_cumprod = scheduler.one
    options = {"eta": eta, "generator": torch.Generator().manual_seed(11)}
    compare(functools.partial(ddim, eta=eta), scheduler, alpha_bar, **options)


@pytest.mark.parametrize("num_steps", [8, 25])
@pytest.mark.parametrize("schedule", BETAS)
def test_dpmpp(schedule, num_steps):
    from diffusers import DPMSolverMultistepScheduler

    class Double(DPMSolverMultistepScheduler):
        def set_timesteps(self, *args, **kwargs):
            super().set_timesteps(*args, **kwargs)
            self.sigmas = torch.cat(
                [sigma_from_alpha_bar(self.alphas_cumprod[self.timesteps]), torch.zeros(1)]
            )

    scheduler, alpha_bar = prepared(
        Double,
        BETAS[schedule],
        num_steps,
        algorithm_type="dpmsolver++",
        solver_order=2,
        final_sigmas_type="zero",
    )
    compare(dpmpp, scheduler, alpha_bar)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large", "learned_range"])
def test_reverse_steps(variance):
    """All timesteps by the equations of `ddpm`, with each kind of variance."""
    from diffusers import DDPMScheduler

    betas = ddpm.linear_betas(200, last=0.1)
    scheduler, alpha_bar = prepared(DDPMScheduler, betas, 200, clip_sample=False, variance_type=variance)
    x = other = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    generator, noise = torch.Generator().manual_seed(5), drawing(5)
    for t in scheduler.timesteps.tolist():
        steps = torch.full((4,), t)
        epsilon, interpolation = epsilon_at(x, t, alpha_bar), torch.tanh(x + t / 100 - 1)
        match variance:
            case "fixed_small":
                values = ddpm.fixed_small(betas)[steps][:, None]
            case "fixed_large":
                values = ddpm.fixed_large(betas)[steps][:, None]
            case _:
                values = ddpm.learned_variance(interpolation, steps, betas)
        reverse = ddpm.Gaussian(ddpm.reverse_mean(x, steps, betas, epsilon), values)
        x = ddpm.reverse_step(reverse, steps, noise(t, x) if t > 0 else torch.zeros_like(x))
        out = epsilon_at(other, t, alpha_bar)
        if variance == "learned_range":
            out = torch.cat([out, torch.tanh(other + t / 100 - 1)], 1)
        other = scheduler.step(out, t, other, generator=generator).prev_sample
    torch.testing.assert_close(x, other, atol=1e-5, rtol=0)
