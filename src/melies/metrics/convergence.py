"""When a number that is watched in training jumps, and when it has stopped rising."""

from collections.abc import Sequence
from typing import NamedTuple

from melies.config import check_range

STRETCHES = 2
"""Intervals between watches that a jump may take at most."""
WIDER = 1.25
"""How much more must rise in a wider one to count."""
SHARE = 0.5
"""Part of the whole rise that makes a jump of it."""
NOISE = 4.0
"""How many times the usual unsteadiness the rise must be."""
LEAST = 5
"""Watches before which nothing is said."""


class Jump(NamedTuple):
    """A rise that came suddenly."""

    before: float
    """Samples seen when the number was last low."""
    after: float
    """Samples seen when it was first high."""
    low: float
    """The number before."""
    high: float
    """And after."""


def find_jump(samples_seen: Sequence[float], values: Sequence[float]) -> Jump | None:
    """The sudden convergence of Zhang, Rao & Agrawala (2023), §4: a rise within few watches, if there is one.

    The steepest rise over at most `STRETCHES` intervals is a jump if it is at least `SHARE` of the rise of
    the whole run, and that at least `NOISE` times the median distance of a value from the line between its
    neighbours.

    Args:
        samples_seen: At each watch, rising.
        values: The number watched; higher is better.

    Returns:
        None where the number rises slowly or not at all, or was watched fewer than `LEAST` times.
    """
    if len(samples_seen) != len(values):
        raise ValueError(f"{len(samples_seen)} watches and {len(values)} values")
    count = len(values)
    if count < LEAST:
        return None
    rise, first, last = max((values[i + 1] - values[i], i, i + 1) for i in range(count - 1))
    for width in range(2, STRETCHES + 1):
        wider = max((values[i + width] - values[i], i, i + width) for i in range(count - width))
        if wider[0] > WIDER * rise:  # else the noise beside a jump would widen it
            rise, first, last = wider
    whole = max(values) - values[0]
    bends = sorted(
        abs(values[i] - (values[i - 1] + values[i + 1]) / 2)
        for i in range(1, count - 1)
        if i < first or i > last
    )
    unsteady = bends[len(bends) // 2] if bends else 0.0
    if whole <= 0 or rise < SHARE * whole or whole < NOISE * unsteady:
        return None
    return Jump(samples_seen[first], samples_seen[last], values[first], values[last])


def has_settled(values: Sequence[float], *, patience: int, gain: float) -> bool:
    """Whether the best of the last `patience` values is less than `gain` above the best before them."""
    check_range("patience", patience, low=1)
    if len(values) <= patience:
        return False
    return max(values[-patience:]) - max(values[:-patience]) < gain
