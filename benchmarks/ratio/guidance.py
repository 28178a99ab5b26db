"""Guided drawing with one UNet: what an interval spares, and a schedule through the guiders of diffusers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn

from benchmarks.ratio.comparison import TimingConfig, comparison_record, medians
from benchmarks.ratio.pair import Pair, Timings, check_equal, median_metric, ratio_metric, time_in_turn
from benchmarks.ratio.sampling import SamplingConfig, build_network, build_scheduler
from melies.diffusion.adapt import Adapted, DiscreteClock
from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance
from melies.diffusion.guidance.named import named_equal_area
from melies.diffusion.guidance.schedules import LimitedInterval, with_weights
from melies.diffusion.noise import from_timesteps
from melies.diffusion.sample import ddim
from melies.interfaces import Branch, Denoise, Metric, Schedule
from melies.report.record import Record

SCALE = 3.0
"""Of guidance, where it is on."""

BATCH = 16
"""Pictures at once: of fewer two branches in one call cost less than twice one, and time is no count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One set of inputs for both sides."""

    network: nn.Module
    noise: Tensor
    label: Tensor
    sigmas: Tensor
    timesteps: Tensor
    draw: SamplingConfig

    @property
    def start(self) -> float:
        """The standard deviation of x_σ for an x_T of unit variance."""
        return float((1 + self.sigmas[0] ** 2).sqrt())


def build_run(draw: SamplingConfig, network: nn.Module, dtype: torch.dtype) -> Run:
    """Noise, classes and noise levels of a run of DDIM."""
    scheduler = build_scheduler("ddim")
    scheduler.set_timesteps(draw.num_steps)
    generator = torch.Generator().manual_seed(0)
    shape = (draw.batch, draw.network.channels, draw.network.size, draw.network.size)
    return Run(
        network=network,
        noise=torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype),
        label=torch.arange(draw.batch) % draw.network.num_classes,
        sigmas=from_timesteps(scheduler.alphas_cumprod.double(), scheduler.timesteps.long()),
        timesteps=scheduler.timesteps,
        draw=draw,
    )


def middle_interval(sigmas: Tensor) -> LimitedInterval:
    """Guidance in the middle third of the steps."""
    levels, third = sigmas[:-1].tolist(), (len(sigmas) - 1) // 3
    high, low = levels[third] * 1.0001, levels[len(levels) - third]
    return LimitedInterval(scale=SCALE, low=low, high=high)


def ours(run: Run, schedule: float | Schedule) -> Callable[[], Tensor]:
    """DDIM by our sampler, guidance and planner."""
    scheduler = build_scheduler("ddim")
    alpha_bar = scheduler.alphas_cumprod.double()
    denoiser = Adapted(
        run.network, predicts="epsilon", clock=DiscreteClock(alpha_bar=alpha_bar, rounding="nearest")
    )
    absent = torch.zeros(len(run.label), dtype=torch.bool)
    branches = {
        "conditional": Branch(denoiser, {"class": run.label}),
        "null": Branch(denoiser, {"class": run.label, "present.class": absent}),
    }

    def call() -> Tensor:
        denoise: Denoise = ClassifierFreeGuidance(scale=schedule).bind(branches, run.sigmas)
        return ddim(denoise, run.start * run.noise, run.sigmas)

    return call


def both_always(run: Run, scales: list[float]) -> Callable[[], Tensor]:
    """A loop that computes both branches in one batch at every step, whatever the scale."""
    scheduler = build_scheduler("ddim")
    scheduler.set_timesteps(run.draw.num_steps)
    b = len(run.label)
    both = {"class": torch.cat([run.label] * 2), "present.class": torch.arange(2 * b) < b}

    @torch.no_grad()
    def call() -> Tensor:
        x = run.noise
        for time, scale in zip(scheduler.timesteps, scales, strict=True):
            doubled = run.network(torch.cat([x, x]), time.expand(2 * b).to(x.dtype), both)
            conditional, null = doubled.chunk(2)
            x = scheduler.step(null + scale * (conditional - null), time, x).prev_sample
        return x

    return call


def by_guider(run: Run, scales: list[float]) -> Callable[[], Tensor]:
    """The loop of the modular pipelines of `diffusers`: one call for each condition that its guider wants."""
    from diffusers import ClassifierFreeGuidance as Guider

    scheduler = build_scheduler("ddim")
    scheduler.set_timesteps(run.draw.num_steps)
    b = len(run.label)
    absent = torch.zeros(b, dtype=torch.bool)
    inputs = {"present": (torch.ones(b, dtype=torch.bool), absent)}

    @torch.no_grad()
    def call() -> Tensor:
        guider = Guider(guidance_scale=scales[0])
        x = run.noise
        for step, (time, scale) in enumerate(zip(scheduler.timesteps, scales, strict=True)):
            guider.guidance_scale = scale  # it takes no schedule
            guider.set_state(step=step, num_inference_steps=len(scales), timestep=time)
            states = guider.prepare_inputs(inputs)
            for state in states:
                guider.prepare_models(run.network)
                condition = {"class": run.label, "present.class": state.present}
                state.noise_pred = run.network(x, time.expand(b).to(x.dtype), condition)
                guider.cleanup_models(run.network)
            x = scheduler.step(guider(states).pred, time, x).prev_sample
        return x

    return call


def build_pairs(run: Run) -> dict[str, Pair]:
    """What is compared: an interval against always both, and a schedule against the guider's loop."""
    interval = middle_interval(run.sigmas)
    linear = with_weights(named_equal_area("linear", SCALE - 1))
    inside, rising = (schedule.on(run.sigmas).tolist() for schedule in (interval, linear))
    return {
        "interval": Pair(
            name="interval, both branches at every step",
            ours=ours(run, interval),
            theirs=both_always(run, inside),
        ),
        "schedule": Pair(
            name="linear schedule, guider loop", ours=ours(run, linear), theirs=by_guider(run, rising)
        ),
    }


def evaluations(scales: list[float]) -> int:
    """Network evaluations of one picture: two where guidance is on."""
    return sum(1 if scale in (0.0, 1.0) else 2 for scale in scales)


def compare_guidance(config: TimingConfig, draw: SamplingConfig | None = None) -> Iterator[Record]:
    """What an interval spares of the time that guidance takes, beside what it spares of the evaluations."""
    draw = draw or SamplingConfig(batch=BATCH)
    started = perf_counter()
    exact = build_pairs(build_run(draw, build_network(draw, torch.float64), torch.float64))
    differences = {pair.name: check_equal(pair, rtol=1e-4, atol=1e-4) for pair in exact.values()}
    run = build_run(draw, build_network(draw, torch.float32), torch.float32)
    pairs = build_pairs(run)
    timings = [time_in_turn(pair, rounds=config.rounds) for pair in pairs.values()]
    always = Pair(
        name="interval, time spared",
        ours=ours(run, middle_interval(run.sigmas)),
        theirs=ours(run, SCALE),
    )
    spared = time_in_turn(always, rounds=config.rounds)
    counts = [evaluations(middle_interval(run.sigmas).on(run.sigmas).tolist()), 2 * draw.num_steps]
    expected = counts[1] / counts[0]
    yield comparison_record(
        "ratio-guidance",
        [*(ratio_metric(timing) for timing in timings), spared_metric(spared, expected)],
        config,
        data={"network": draw.network, "batch": draw.batch},
        duration_s=perf_counter() - started,
        notes={
            "peer": "a hand-written loop with both branches in one batch, and the guider loop of diffusers",
            "num_steps": draw.num_steps,
            "evaluations with and without the interval": counts,
            "largest difference in float64": differences,
            "median seconds": medians([*timings, spared]),
        },
        packages=("diffusers",),
    )


def spared_metric(timings: Timings, expected: float) -> Metric:
    """The ratio of times over that of evaluations: 1 where time is spared as evaluations are."""
    kept = [ratio / expected for ratio in timings.ratios]
    return median_metric(timings.name, kept, unit="of evaluations", higher_is_better=True)
