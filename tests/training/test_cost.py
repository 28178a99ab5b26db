"""The cost of a training step: bytes by hand, and what it leaves behind."""

import torch
from torch import nn

from melies.training.cost import step_cost


def test_bytes_are_those_of_weights_gradients_moments_and_what_is_kept():
    """One linear layer of 3 × 5 weights and its input of 7 × 5, in float32, squared."""
    layer, x = nn.Linear(5, 3, bias=False), torch.randn(7, 5)
    cost = step_cost(lambda: layer(x).square().sum(), trained=layer.parameters(), tries=1)
    assert cost.state_bytes == 4 * (3 * 5 * 4)
    assert (
        cost.kept_bytes == 7 * 5 * 4 + 7 * 3 * 4
    )  # the input for the weights' gradient, the output for the square
    assert cost.peak_bytes == cost.state_bytes + cost.kept_bytes
    assert cost.seconds > 0
    assert layer.weight.grad is None


def test_locked_weights_count_once_and_keep_no_input():
    """Through a locked layer a gradient passes, for which its weights are enough."""
    first, locked, x = (
        nn.Linear(5, 3, bias=False),
        nn.Linear(3, 2, bias=False).requires_grad_(False),
        torch.ones(7, 5),
    )
    cost = step_cost(
        lambda: locked(first(x)).sum(), trained=first.parameters(), locked=locked.parameters(), tries=1
    )
    assert cost.state_bytes == 4 * (3 * 5 * 4) + 3 * 2 * 4
    assert cost.kept_bytes == 7 * 5 * 4
