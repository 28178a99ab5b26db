"""What a training step costs: its time, and the memory that it needs, counted and not sampled."""

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class StepCost(NamedTuple):
    """Of one training step."""

    seconds: float
    """Forward and backward; the least of several tries."""
    state_bytes: int
    """Weights of everything, and of what is trained gradients and AdamW's two moments."""
    kept_bytes: int
    """What the forward pass keeps for the backward pass, weights apart."""

    @property
    def peak_bytes(self) -> int:
        """Both together: what the step holds where it holds most."""
        return self.state_bytes + self.kept_bytes


def step_cost(
    loss_of: Callable[[], Tensor],
    *,
    trained: Iterable[nn.Parameter],
    locked: Iterable[Tensor] = (),
    tries: int = 3,
) -> StepCost:
    """The cost of a step that trains some weights beside others.

    The bytes are the same on every machine, because tensors are counted, each storage once; the gradients of
    what is trained are dropped afterwards.

    Args:
        loss_of: Computes the loss anew.
        trained: What it trains.
        locked: Weights that take part and are not trained.
        tries: How often the time is taken; the first call, which counts the bytes, is not among them.
    """
    trained, locked = list(trained), list(locked)
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*trained, *locked)}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def drop_gradients() -> None:
        for parameter in trained:
            parameter.grad = None

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of()
    loss.backward()
    times = []
    for _ in range(tries):
        drop_gradients()
        _wait(loss)
        started = time.perf_counter()
        loss_of().backward()
        _wait(loss)
        times.append(time.perf_counter() - started)
    drop_gradients()
    state = sum(_bytes(tensor) for tensor in locked) + 4 * sum(_bytes(tensor) for tensor in trained)
    return StepCost(min(times), state, sum(kept.values()))


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _wait(like: Tensor) -> None:
    if like.is_cuda:
        torch.cuda.synchronize(like.device)
