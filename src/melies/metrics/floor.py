"""The real-versus-real floor: what a measure reads when there is nothing left to gain."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from melies.errors import UserError
from melies.metrics.features import Features, as_matrix
from melies.rng import generator_for


def floor(
    distance: Callable, real: Features, *, size: int | None = None, num_splits: int = 20, seed: int = 0
) -> Float[Tensor, "s ..."]:
    """A measure between two disjoint random parts of the real samples, once per split.

    Most distances are above 0 between finite samples of one distribution: a model is as good as
    the measure can tell when it reaches this, not 0. The first part stands for the generated set
    and has its size where there are enough real samples for it, else half of them; the second has
    all the rest, because that is the nearest to the set that was compared with.

    Args:
        distance: `(generated, real) → number`, or a tuple of numbers such as `prdc` gives.
        real: Features of real samples (n, d).
        size: Number of generated samples in the comparison; None is half of the real ones.
        num_splits: Random splits. They share rows, so their spread is not an error of the mean.
        seed: Of the splits.

    Raises:
        UserError: If there are fewer than four real rows, or no split is asked for.
    """
    real = as_matrix(real, "real features", least=4)
    if num_splits < 1 or (size is not None and size < 1):
        raise UserError(
            f"a floor from {num_splits} splits of {size} samples is none",
            remedy="ask for one or more",
        )
    first = len(real) // 2 if size is None else min(size, len(real) // 2)
    found = []
    for step in range(num_splits):
        order = torch.randperm(len(real), generator=generator_for(seed, "floor", step)).to(real.device)
        found.append(distance(real[order[:first]], real[order[first:]]))
    return torch.tensor(found, dtype=torch.float64)
