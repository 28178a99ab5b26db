"""How long the commands take that a new user types first; writes `benchmarks/results/commands.json`.

    python -m benchmarks.commands

Measured from outside, as a user waits: `melies --help`, and `make demo`, once installed, until its
grid of pictures is there.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.ratio.pair import median_metric
from melies.config import check_range
from melies.errors import UserError
from melies.interfaces import Metric
from melies.machine import command_line
from melies.report.record import record_run, write_record

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandsConfig:
    """What is measured, and how often."""

    help_runs: int = 11
    """Times that `melies --help` is run; one more, first, does not count."""
    demo_runs: int = 3
    """Times that `make demo` is run; 0 leaves it out. One more, first, installs and does not count."""
    out: Path = ROOT / "benchmarks" / "results"
    """Folder of the record."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("help_runs", self.help_runs, low=2)
        check_range("demo_runs", self.demo_runs, low=0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the record; 2 if a command fails."""
    config = tyro.cli(CommandsConfig, args=arguments, description=__doc__)
    started = time.perf_counter()
    try:
        metrics = [time_help(config.help_runs)]
        if config.demo_runs:
            metrics.append(time_demo(config.demo_runs))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    record = record_run(
        "commands",
        metrics,
        data={"what": "seconds of wall time, from typing to the last file"},
        command=command_line(["python -m benchmarks.commands", *sys.argv[1:]]),
        duration_s=time.perf_counter() - started,
    )
    path = write_record(config.out / "commands.json", record)
    for metric in metrics:
        print(f"{metric.name:24} {metric.value:7.2f} s  [{metric.interval[0]:.2f}, {metric.interval[1]:.2f}]")
    print(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
    return 0


def time_help(runs: int) -> Metric:
    """Seconds of `melies --help`, from the environment that runs this."""
    melies = Path(sys.executable).with_name("melies")
    command = [str(melies)] if melies.exists() else [sys.executable, "-m", "melies"]
    seconds = [_seconds([*command, "--help"]) for _ in range(runs + 1)][1:]
    return median_metric("melies --help", seconds, unit="s", higher_is_better=False)


def time_demo(runs: int) -> Metric:
    """Seconds of `make demo`, once installed, until the command is back and its grid is written."""
    seconds = []
    for turn in range(runs + 1):
        out = Path(tempfile.mkdtemp(prefix="melies-demo-"))
        try:
            spent = _seconds(["make", "--no-print-directory", "demo", f"OUT={out}"])
            if not (out / "grid.png").exists():
                raise UserError("make demo wrote no grid.png")
        finally:
            shutil.rmtree(out, ignore_errors=True)
        if turn:
            seconds.append(spent)
    return median_metric("make demo", seconds, unit="s", higher_is_better=False)


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    spent = time.perf_counter() - start
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise UserError(f"{' '.join(command[:3])} failed with code {done.returncode}: {''.join(last)}")
    return spent


if __name__ == "__main__":
    sys.exit(main())
