"""What a run of networks costs: their calls, and the rows that went through them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class Counts:
    """Calls of networks, and the rows that went through them."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self.calls, self.rows = 0, 0


@contextmanager
def counting(*models: nn.Module) -> Iterator[Counts]:
    """Counts what goes through models while the block runs: the rows of the first tensor of each call."""
    counts = Counts()

    def count(module: nn.Module, args: tuple, named: dict[str, Any]) -> None:
        counts.calls += 1
        counts.rows += len(next(value for value in (*args, *named.values()) if isinstance(value, Tensor)))

    handles = [model.register_forward_pre_hook(count, with_kwargs=True) for model in models]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()
