"""Two ways of computing the same thing, timed in turn in one process.

A ratio taken in the same round is hardly touched by what else the machine does: both sides suffer
alike, and whoever goes first changes from round to round.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from melies.interfaces import Metric
from melies.metrics.interval import bootstrap, percentile_interval

AT_LEAST_AS_FAST = 0.97
"""Lower end of the interval from which a ratio counts as "at least 1.0×"."""

_LEAST_S = 0.02
"""A timing runs its function as often as this takes: of one in microseconds it would be the cold start."""
_REST_S = 0.05
"""Pause before each timing: the threads of the other side's library look for work before they sleep."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One comparison: two functions of no arguments that must give the same tensors."""

    name: str
    ours: Callable[[], Tensor]
    theirs: Callable[[], Tensor]


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Seconds of every round; round i of both was taken one right after the other."""

    name: str
    ours_s: tuple[float, ...]
    theirs_s: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Their time over ours, per round: above 1 where we are faster."""
        return [theirs / ours for ours, theirs in zip(self.ours_s, self.theirs_s, strict=True)]


def check_equal(pair: Pair, *, rtol: float, atol: float) -> float:
    """Run both once and compare; the largest absolute difference.

    Raises:
        AssertionError: If they differ by more than the tolerance: then their speeds say nothing.
    """
    ours, theirs = pair.ours(), pair.theirs()
    torch.testing.assert_close(
        ours, theirs, rtol=rtol, atol=atol, msg=lambda text: f"{pair.name} computes something else\n{text}"
    )
    return float((ours - theirs).abs().max())


def time_in_turn(pair: Pair, *, rounds: int, warm_up: int = 2) -> Timings:
    """Time both `rounds` times, the first mover changing every round, after some runs that do not count."""
    sides = {"ours": pair.ours, "theirs": pair.theirs}
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    quickest, repeats = float("inf"), 1
    for turn in range(-warm_up, rounds):
        if turn == 0:
            repeats = max(1, round(_LEAST_S / quickest))
        for side in ("ours", "theirs") if turn % 2 == 0 else ("theirs", "ours"):
            time.sleep(_REST_S)
            spent = _seconds(sides[side], repeats)
            quickest = min(quickest, spent)
            if turn >= 0:
                seconds[side].append(spent)
    return Timings(name=pair.name, ours_s=tuple(seconds["ours"]), theirs_s=tuple(seconds["theirs"]))


def _seconds(function: Callable[[], Tensor], repeats: int = 1) -> float:
    settle()
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    settle()
    return (time.perf_counter() - start) / repeats


def settle() -> None:
    """Wait for a GPU to finish what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def median_metric(
    name: str, values: list[float], *, unit: str, higher_is_better: bool, seed: int = 0
) -> Metric:
    """The median of the rounds with its 95 % bootstrap interval."""
    rows = torch.tensor(values, dtype=torch.float64)
    replicates = bootstrap(lambda indices: rows[indices].median(), len(rows), seed=seed)
    return Metric(
        name=name,
        value=statistics.median(values),
        unit=unit,
        higher_is_better=higher_is_better,
        num_samples=len(values),
        interval=percentile_interval(replicates),
        seed=seed,
    )


def ratio_metric(timings: Timings, *, seed: int = 0) -> Metric:
    """Their time over ours: the median of the rounds' ratios."""
    return median_metric(timings.name, timings.ratios, unit="×", higher_is_better=True, seed=seed)


class Clocked(torch.nn.Module):
    """A network that adds up the seconds spent inside it."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network
        self.seconds = 0.0

    def forward(self, *args, **kwargs) -> Tensor:
        """The network's own answer."""
        settle()
        start = time.perf_counter()
        out = self.network(*args, **kwargs)
        settle()
        self.seconds += time.perf_counter() - start
        return out


def overhead(run: Callable[[], Tensor], clocked: Clocked, *, rounds: int, warm_up: int = 1) -> list[float]:
    """Time outside the network as a share of the time inside it, per round."""
    shares = []
    for turn in range(-warm_up, rounds):
        clocked.seconds = 0.0
        total = _seconds(run)
        if turn >= 0:
            shares.append((total - clocked.seconds) / clocked.seconds)
    return shares
