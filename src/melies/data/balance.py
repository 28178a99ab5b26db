"""Which sample comes when: weights that balance uneven groups, and endless streams of indices."""

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from melies.rng import generator_for


def balanced_weights(groups: Sequence[Hashable], power: float = 0.5) -> Float64[Tensor, " n"]:
    """A weight for each sample, count(its group)^(−power), scaled to sum 1.

    With power 0 all samples weigh the same, with 1 all groups do; between, rare groups are lifted
    without repeating their few samples too often.

    Args:
        groups: The group of each sample.
        power: 0 … 1.
    """
    if not groups or not 0 <= power <= 1:
        raise ValueError(f"need some groups and 0 <= power <= 1, got {len(groups)} and {power=}")
    counts = Counter(groups)
    weights = torch.tensor([counts[group] ** -power for group in groups], dtype=torch.float64)
    return weights / weights.sum()


def index_stream(weights: Float64[Tensor, " n"], *, seed: int) -> Callable[[int, int], Tensor]:
    """An endless stream of sample indices: `stream(start, size)` gives positions start … start + size − 1.

    The stream is cut into blocks of n positions. Each block is a systematic resample (sample i comes
    n·wᵢ times, rounded up or down) in a random order of its own, so shares are exact after few blocks,
    and equal weights give plain epochs. The result depends on seed and position only.

    Args:
        weights: At least 0, of any positive sum.
        seed: Another seed, another order.

    Returns:
        `(start, size) → int64 (size,)`; the latest block is kept, so going forward costs little.
    """
    if weights.ndim != 1 or not len(weights) or not torch.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("weights are a vector of finite numbers of at least 0")
    if weights.sum() <= 0:
        raise ValueError("at least one weight must be above 0")
    count = len(weights)
    edges = (weights / weights.sum()).cumsum(0) * count
    last = int(weights.nonzero()[-1])
    kept: dict[int, Tensor] = {}

    def block(number: int) -> Tensor:
        if number not in kept:
            generator = generator_for(seed, "block", number)
            # The golden ratio spreads the offsets of uneven weights over successive blocks; equal weights
            # keep away from the edges, where rounding could move a point across.
            offset = (0.5 + number * 0.6180339887498949) % 1.0
            offset = 0.25 + 0.5 * offset if _equal(weights) else offset
            points = torch.arange(count, dtype=torch.float64) + offset
            drawn = torch.searchsorted(edges, points, right=True).clamp(max=last)
            kept.clear()
            kept[number] = drawn[torch.randperm(count, generator=generator)]
        return kept[number]

    def stream(start: int, size: int) -> Tensor:
        if start < 0 or size < 0:
            raise ValueError(f"need start >= 0 and size >= 0, got {start=}, {size=}")
        parts = [torch.empty(0, dtype=torch.int64)]
        position = start
        while position < start + size:
            number, within = divmod(position, count)
            part = block(number)[within : within + start + size - position]
            parts.append(part)
            position += len(part)
        return torch.cat(parts)

    return stream


def index_at(start: int, size: int, weights: Float64[Tensor, " n"], seed: int) -> Int64[Tensor, " size"]:
    """Positions start … start + size − 1 of `index_stream(weights, seed=seed)`, asked for once."""
    return index_stream(weights, seed=seed)(start, size)


def uniform_at(positions: Int64[Tensor, " b"], *, seed: int, stream: str) -> Float64[Tensor, " b"]:
    """One number in [0, 1) for each position of a named stream: a hash, so any position costs the same.

    SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators") over the
    position, keyed by a hash of seed and name.
    """
    key = int.from_bytes(
        hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest(), "big", signed=True
    )
    state = positions * _signed(0x9E3779B97F4A7C15) + key  # int64 arithmetic wraps, as it should
    return _shifted(_mixed(state), 11).to(torch.float64) * 2.0**-53


def _mixed(state: Tensor) -> Tensor:
    state = (state ^ _shifted(state, 30)) * _signed(0xBF58476D1CE4E5B9)
    state = (state ^ _shifted(state, 27)) * _signed(0x94D049BB133111EB)
    return state ^ _shifted(state, 31)


def _equal(weights: Tensor) -> bool:
    return bool((weights == weights[0]).all())


def _shifted(state: Tensor, bits: int) -> Tensor:
    """A logical shift to the right; torch's own copies the sign."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
