"""Run the comparisons and write `benchmarks/results/ratio-*.json`.

    python -m benchmarks.ratio --threads 2

Needs an idle machine, `pip install 'melies[dev]'` and, for the training step, the packages of
`benchmarks/requirements.txt`. Outputs are compared in float64 before anything is timed. A ratio is
their time over ours; "at least 1.0×" means that the lower end of its interval is at least 0.97.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
import tyro

from benchmarks.ratio.pair import (
    AT_LEAST_AS_FAST,
    Clocked,
    Timings,
    check_equal,
    median_metric,
    overhead,
    ratio_metric,
    time_in_turn,
)
from benchmarks.ratio.sampling import SamplingConfig, build_network, build_pairs
from benchmarks.ratio.training import StepConfig, build_gradient_pair, build_step_pair
from melies.config import check_positive, check_range
from melies.errors import UserError
from melies.interfaces import Metric
from melies.machine import command_line, keep_freed_memory
from melies.report.record import Record, record_run, write_record
from melies.report.table import format_numbers

RESULTS = Path(__file__).resolve().parents[1] / "results"
OVERHEAD_LIMIT = 0.02
"""Largest share of the network's time that the rest of the sampling loop may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioConfig:
    """What is compared, and how long."""

    only: tuple[Literal["sampling", "training"], ...] = ("sampling", "training")
    """Which comparisons."""
    rounds: int = 21
    """Times that each side is timed."""
    threads: int = os.cpu_count() or 1
    """Threads that torch computes with."""
    draw: SamplingConfig = field(default_factory=SamplingConfig)
    """What is drawn."""
    step: StepConfig = field(default_factory=StepConfig)
    """What is trained."""
    out: Path = RESULTS
    """Folder of the records."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("rounds", self.rounds, low=2)
        check_positive("threads", self.threads)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, write the records, print a table; 1 if a promise is not kept, 2 for a user's mistake."""
    config = tyro.cli(RatioConfig, args=arguments, description=__doc__)
    torch.set_num_threads(config.threads)
    keep_freed_memory()  # for both sides: it is the process's
    try:
        records = [record for name in config.only for record in COMPARISONS[name](config)]
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for record in records:
        write_record(config.out / f"{record.name}.json", record)
        print(f"\n{record.name}\n{_table(record)}")
    return 0 if all(_kept(metric) is not False for record in records for metric in record.metrics) else 1


def compare_sampling(config: RatioConfig) -> Iterator[Record]:
    """Both samplers, with and without guidance; and what the loop itself costs."""
    started = time.perf_counter()
    exact = build_pairs(config.draw, build_network(config.draw, torch.float64), torch.float64)
    # diffusers keeps its schedule in float32; network and guidance amplify that rounding over the steps
    differences = {pair.name: check_equal(pair, rtol=1e-4, atol=1e-4) for pair in exact}
    clocked = Clocked(build_network(config.draw, torch.float32))
    plain = build_pairs(config.draw, clocked.network, torch.float32)
    timings = [time_in_turn(pair, rounds=config.rounds) for pair in plain]
    yield _record(
        "ratio-sampling",
        [ratio_metric(timing) for timing in timings],
        config,
        duration_s=time.perf_counter() - started,
        data={"network": config.draw.network, "batch": config.draw.batch},
        notes={
            "peer": "diffusers schedulers in a hand-written loop",
            "num_steps": config.draw.num_steps,
            "largest difference in float64": differences,
            "median seconds": _medians(timings),
        },
    )
    started = time.perf_counter()
    shares = {}
    for pair in build_pairs(config.draw, clocked, torch.float32):
        shares[pair.name] = overhead(pair.ours, clocked, rounds=config.rounds)
        shares[f"{pair.name}, diffusers"] = overhead(pair.theirs, clocked, rounds=config.rounds)
    yield _record(
        "overhead-sampling",
        [
            median_metric(name, values, unit="share", higher_is_better=False)
            for name, values in shares.items()
        ],
        config,
        duration_s=time.perf_counter() - started,
        data={"network": config.draw.network, "batch": config.draw.batch},
        notes={"what": "time outside the network, as a share of the time inside it"},
    )


def compare_training(config: RatioConfig) -> Iterator[Record]:
    """One step on the same network."""
    started = time.perf_counter()
    difference = check_equal(build_gradient_pair(config.step), rtol=1e-4, atol=1e-6)
    timing = time_in_turn(build_step_pair(config.step), rounds=config.rounds)
    yield _record(
        "ratio-training",
        [ratio_metric(timing)],
        config,
        duration_s=time.perf_counter() - started,
        data={"network": config.step.network, "batch": config.step.batch},
        notes={
            "peer": "denoising-diffusion-pytorch GaussianDiffusion",
            "largest difference of loss and gradient in float64": difference,
            "median seconds": _medians([timing]),
        },
        packages=("denoising-diffusion-pytorch",),
    )


COMPARISONS = {"sampling": compare_sampling, "training": compare_training}


def _record(name: str, metrics: list[Metric], config: RatioConfig, *, notes, packages=(), **rest) -> Record:
    return record_run(
        name,
        metrics,
        command=command_line(["python -m benchmarks.ratio", *sys.argv[1:]]),
        notes={"threads": config.threads, "rounds": config.rounds, **notes},
        packages=("diffusers", *packages),
        **rest,
    )


def _medians(timings: Sequence[Timings]) -> dict[str, dict[str, float]]:
    return {
        timing.name: {
            "ours": round(sorted(timing.ours_s)[len(timing.ours_s) // 2], 4),
            "theirs": round(sorted(timing.theirs_s)[len(timing.theirs_s) // 2], 4),
        }
        for timing in timings
    }


def _kept(metric: Metric) -> bool | None:
    """Whether the promise about this number holds; None where there is none."""
    if metric.unit == "×":
        return metric.interval[0] >= AT_LEAST_AS_FAST
    return None if "diffusers" in metric.name else metric.value < OVERHEAD_LIMIT


def _table(record: Record) -> str:
    lines = []
    for metric in record.metrics:
        value, low, high = format_numbers(metric)
        unit = "%" if metric.unit == "share" else metric.unit
        kept = {True: "kept", False: "NOT KEPT", None: ""}[_kept(metric)]
        lines.append(f"  {metric.name:32} {value:>8} {unit}  [{low}, {high}]  {kept}".rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
