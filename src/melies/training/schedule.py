"""Learning rate as a function of the samples seen."""

import math


def learning_rate(
    samples_seen: int, *, peak: float, warmup: int, total: int, decay: str = "cosine", final: float = 0.0
) -> float:
    """Linear warm-up, then constant, linear or cosine decay.

    Args:
        samples_seen: Progress, in samples.
        peak: Rate at the end of the warm-up.
        warmup: Samples over which the rate rises from 0.
        total: Samples of the whole run.
        decay: "constant", "linear" or "cosine".
        final: Rate at the end, as a share of the peak.
    """
    if samples_seen < warmup:
        return peak * (samples_seen + 1) / (warmup + 1)
    done = min(1.0, (samples_seen - warmup) / max(1, total - warmup))
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
