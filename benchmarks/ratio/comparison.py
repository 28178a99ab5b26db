"""What every comparison shares: how long it is timed, and the record that it gives."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.ratio.pair import Timings
from melies.config import check_positive, check_range
from melies.interfaces import Metric
from melies.machine import command_line
from melies.report.record import Record, record_run


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingConfig:
    """How both sides are timed."""

    rounds: int = 21
    """Times that each side is timed."""
    threads: int = os.cpu_count() or 1
    """Threads that torch computes with."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("rounds", self.rounds, low=2)
        check_positive("threads", self.threads)


def comparison_record(
    name: str,
    metrics: Sequence[Metric],
    config: TimingConfig,
    *,
    data: Mapping[str, Any],
    duration_s: float,
    notes: Mapping[str, Any],
    packages: Sequence[str],
) -> Record:
    """The record of one comparison; `packages` are the peers, whose versions it names."""
    return record_run(
        name,
        metrics,
        data=data,
        command=command_line(["python -m benchmarks.ratio", *sys.argv[1:]]),
        duration_s=duration_s,
        notes={"threads": config.threads, "rounds": config.rounds, **notes},
        packages=packages,
    )


def medians(timings: Sequence[Timings]) -> dict[str, dict[str, float]]:
    """Median seconds of both sides, by the name of the pair."""
    return {
        timing.name: {
            "ours": round(sorted(timing.ours_s)[len(timing.ours_s) // 2], 4),
            "theirs": round(sorted(timing.theirs_s)[len(timing.theirs_s) // 2], 4),
        }
        for timing in timings
    }
