"""Run the comparisons and write `benchmarks/results/ratio-*.json`.

    python -m benchmarks.ratio --threads 2

Needs an idle machine, `pip install 'melies[dev]'` and, for some comparisons, the packages of
`benchmarks/requirements.txt`. Outputs are compared in float64 before anything is timed. A ratio is
their time over ours; "at least 1.0×" means that the lower end of its interval is at least 0.97.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro

from benchmarks.ratio.comparison import TimingConfig
from benchmarks.ratio.pair import AT_LEAST_AS_FAST
from melies.errors import UserError
from melies.interfaces import Metric
from melies.machine import keep_freed_memory
from melies.optional import import_from
from melies.report.record import Record, write_record
from melies.report.table import format_numbers

RESULTS = Path(__file__).resolve().parents[1] / "results"
LIMITS = {
    "share": 0.02,
    "GB": 2.0,
    "of the base's step": 1.6,
    "s of a conversion": 2.0,
    "s of a conversion to USD": 3.0,
    "MB of a conversion": 500.0,
}
"""Largest value that is promised, by unit: of the network's time that the rest of a sampling loop may
take, of memory, of what a controlled step takes, and of a long path's conversion."""

LEAST = {"interval, both branches at every step": 1.3, "16 shots, cross-attention": 1.3}
"""Smallest ratio that is promised, by name, where it is more than being as fast."""

NEAR = {"of evaluations": 0.1}
"""How near to 1 a number is promised to be, by unit."""

COMPARISONS = {
    "sampling": "benchmarks.ratio.sampling:compare_sampling",
    "training": "benchmarks.ratio.training:compare_training",
    "metrics": "benchmarks.ratio.metrics:compare_metrics",
    "quantize": "benchmarks.ratio.quantize:compare_quantize",
    "vae": "benchmarks.ratio.vae:compare_vae",
    "conditions": "benchmarks.ratio.conditions:compare_conditions",
    "guidance": "benchmarks.ratio.guidance:compare_guidance",
    "control": "benchmarks.ratio.control:compare_control",
    "camera": "benchmarks.ratio.camera:compare_camera",
}
"""`(TimingConfig) → Iterator[Record]` by name; imported when chosen, for each has peers of its own."""

Name = Literal[tuple(COMPARISONS)]  # type: ignore[valid-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioConfig(TimingConfig):
    """What is compared, and how long."""

    only: tuple[Name, ...] = tuple(COMPARISONS)
    """Which comparisons."""
    out: Path = RESULTS
    """Folder of the records."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, write the records, print a table; 1 if a promise is not kept, 2 for a user's mistake."""
    config = tyro.cli(RatioConfig, args=arguments, description=__doc__)
    torch.set_num_threads(config.threads)
    keep_freed_memory()  # for both sides: it is the process's
    kept = True
    try:
        for name in config.only:
            for record in import_from(COMPARISONS[name])(config):
                write_record(config.out / f"{record.name}.json", record)
                print(f"\n{record.name}\n{_table(record)}", flush=True)
                kept &= all(_kept(metric) is not False for metric in record.metrics)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0 if kept else 1


def _kept(metric: Metric) -> bool | None:
    """Whether the promise about this number holds; None where there is none."""
    if metric.unit == "×":
        return metric.interval[0] >= LEAST.get(metric.name, AT_LEAST_AS_FAST)
    if metric.unit in NEAR:
        return abs(metric.value - 1) <= NEAR[metric.unit]
    return None if "diffusers" in metric.name else metric.value < LIMITS[metric.unit]


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
