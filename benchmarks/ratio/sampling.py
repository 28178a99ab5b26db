"""Drawing with one UNet: our samplers and guidance against `diffusers` schedulers in a hand-written loop."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn

from benchmarks.ratio.comparison import TimingConfig, comparison_record, medians
from benchmarks.ratio.pair import (
    Clocked,
    Pair,
    check_equal,
    median_metric,
    overhead,
    ratio_metric,
    time_in_turn,
)
from melies.diffusion.adapt import Adapted, DiscreteClock
from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance
from melies.diffusion.noise import from_timesteps
from melies.diffusion.sample import ddim, dpmpp
from melies.interfaces import Branch
from melies.nn.unet import UNet, UNetConfig
from melies.report.record import Record

SAMPLERS: dict[str, Callable] = {"ddim": ddim, "dpmpp": dpmpp}
SCALES = {"": 1.0, " with guidance": 3.0}
"""What the name of a comparison adds, and its guidance scale; 1 is off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingConfig:
    """What is drawn."""

    network: UNetConfig = UNetConfig(num_classes=10, widths=(32, 64, 128), attention=(8,))
    """The network of both sides, which predicts ε."""
    batch: int = 8
    """Pictures at once."""
    num_steps: int = 25
    """Steps of the sampler."""


def compare_sampling(config: TimingConfig, draw: SamplingConfig | None = None) -> Iterator[Record]:
    """Both samplers, with and without guidance; and what the loop itself costs."""
    draw = draw or SamplingConfig()
    started = perf_counter()
    exact = build_pairs(draw, build_network(draw, torch.float64), torch.float64)
    # diffusers keeps its schedule in float32; network and guidance amplify that rounding over the steps
    differences = {pair.name: check_equal(pair, rtol=1e-4, atol=1e-4) for pair in exact}
    clocked = Clocked(build_network(draw, torch.float32))
    plain = build_pairs(draw, clocked.network, torch.float32)
    timings = [time_in_turn(pair, rounds=config.rounds) for pair in plain]
    drawn = {"network": draw.network, "batch": draw.batch}
    yield comparison_record(
        "ratio-sampling",
        [ratio_metric(timing) for timing in timings],
        config,
        data=drawn,
        duration_s=perf_counter() - started,
        notes={
            "peer": "diffusers schedulers in a hand-written loop",
            "num_steps": draw.num_steps,
            "largest difference in float64": differences,
            "median seconds": medians(timings),
        },
        packages=("diffusers",),
    )
    started = perf_counter()
    shares = {}
    for pair in build_pairs(draw, clocked, torch.float32):
        shares[pair.name] = overhead(pair.ours, clocked, rounds=config.rounds)
        shares[f"{pair.name}, diffusers"] = overhead(pair.theirs, clocked, rounds=config.rounds)
    yield comparison_record(
        "overhead-sampling",
        [
            median_metric(name, values, unit="share", higher_is_better=False)
            for name, values in shares.items()
        ],
        config,
        data=drawn,
        duration_s=perf_counter() - started,
        notes={"what": "time outside the network, as a share of the time inside it"},
        packages=("diffusers",),
    )


class TimedNetwork(nn.Module):
    """A UNet that is told DDPM timesteps 0 … 999 and predicts ε, as both sides call it.

    Untrained, it corrects the guess that all is noise, so that samples have the size of real ones.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, time: Tensor, condition, *, residuals=None, attention=None) -> Tensor:
        """Scaled noisy pictures and their timesteps to ε."""
        return x + self.network(x, time / 1000, condition, residuals=residuals, attention=attention)


def fill_zeros(network: nn.Module) -> None:
    """Random numbers for the matrices that start at zero, without which the condition would not count."""
    for parameter in network.parameters():
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.05)


def build_network(config: SamplingConfig, dtype: torch.dtype) -> nn.Module:
    """The network with random weights, as after some training."""
    torch.manual_seed(0)
    network = UNet(config.network)
    fill_zeros(network)
    return TimedNetwork(network.to(dtype).eval())


def build_pairs(config: SamplingConfig, network: nn.Module, dtype: torch.dtype) -> list[Pair]:
    """Both samplers with and without guidance; `network` may be wrapped, both sides call the same."""
    generator = torch.Generator().manual_seed(0)
    shape = (config.batch, config.network.channels, config.network.size, config.network.size)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    label = torch.arange(config.batch) % config.network.num_classes
    pairs = []
    for name in SAMPLERS:
        for suffix, scale in SCALES.items():
            pairs.append(
                Pair(
                    name=name + suffix,
                    ours=_ours(name, config.num_steps, network, noise, label, scale),
                    theirs=_theirs(name, config.num_steps, network, noise, label, scale),
                )
            )
    return pairs


def build_scheduler(name: str):
    """The scheduler of `diffusers`, set to the method that our sampler implements."""
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    betas = {"num_train_timesteps": 1000, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
    if name == "ddim":
        return DDIMScheduler(**betas, clip_sample=False, set_alpha_to_one=True)
    return DPMSolverMultistepScheduler(
        **betas, algorithm_type="dpmsolver++", solver_order=2, final_sigmas_type="zero"
    )


def _ours(name: str, num_steps: int, network: nn.Module, noise: Tensor, label: Tensor, scale: float):
    scheduler = build_scheduler(name)
    scheduler.set_timesteps(num_steps)
    alpha_bar = scheduler.alphas_cumprod.double()
    sigmas = from_timesteps(alpha_bar, scheduler.timesteps.long())
    denoiser = Adapted(
        network, predicts="epsilon", clock=DiscreteClock(alpha_bar=alpha_bar, rounding="nearest")
    )
    absent = torch.zeros(len(label), dtype=torch.bool)
    branches = {
        "conditional": Branch(denoiser, {"class": label}),
        "null": Branch(denoiser, {"class": label, "present.class": absent}),
    }
    start = float((1 + sigmas[0] ** 2).sqrt())  # x_σ of a unit-variance x_T

    def run() -> Tensor:
        denoise = ClassifierFreeGuidance(scale=scale).bind(branches, sigmas)
        return SAMPLERS[name](denoise, start * noise, sigmas)

    return run


def _theirs(name: str, num_steps: int, network: nn.Module, noise: Tensor, label: Tensor, scale: float):
    scheduler = build_scheduler(name)
    scheduler.set_timesteps(num_steps)
    b = len(label)
    present = torch.arange(2 * b) < b
    both = {"class": torch.cat([label, label]), "present.class": present}

    @torch.no_grad()
    def run() -> Tensor:
        scheduler.set_timesteps(num_steps)  # its multistep memory starts anew
        x = noise
        for time in scheduler.timesteps:
            if scale == 1.0:
                epsilon = network(x, time.expand(b).to(x.dtype), {"class": label})
            else:
                doubled = network(torch.cat([x, x]), time.expand(2 * b).to(x.dtype), both)
                conditional, null = doubled.chunk(2)
                epsilon = null + scale * (conditional - null)
            x = scheduler.step(epsilon, time, x).prev_sample
        return x

    return run
