"""Learning rate as a function of the samples seen."""

import math


def learning_rate(
    samples_seen: int,
    *,
    peak: float,
    warmup: int,
    total: int,
    decay: str = "cosine",
    hold: float = 0.0,
    final: float = 0.0,
) -> float:
    """Linear warm-up, a time at the peak, then constant, linear or cosine decay.

    Args:
        samples_seen: Progress, in samples.
        peak: Rate at the end of the warm-up.
        warmup: Samples over which the rate rises from 0.
        total: Samples of the whole run.
        decay: "constant", "linear" or "cosine".
        hold: Share of the run, warm-up included, before the decay begins.
        final: Rate at the end, as a share of the peak.
    """
    if samples_seen < warmup:
        return peak * (samples_seen + 1) / (warmup + 1)
    start = max(warmup, hold * total)
    done = min(1.0, max(0.0, samples_seen - start) / max(1.0, total - start))
    match decay:
        case "constant":
            share = 1.0
        case "linear":
            share = 1.0 - done
        case "cosine":
            share = 0.5 * (1.0 + math.cos(math.pi * done))
        case _:
            raise ValueError(f"unknown decay {decay!r}")
    return peak * (final + (1.0 - final) * share)
