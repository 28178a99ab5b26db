"""Fixed predictions as branches, and what an evaluation at one level makes of them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from melies.interfaces import Branch


class Fixed:
    """A denoiser that says the same whatever it is asked, and counts."""

    def __init__(self, x0: Tensor) -> None:
        self.x0, self.calls = x0, 0

    def __call__(self, x, sigma, condition, *, attention=None):
        self.calls += 1
        return self.x0[: len(x)]


@pytest.fixture
def fixed() -> Callable[..., dict[str, Branch]]:
    """`fixed("conditional", "null", shape=…) → branches` of random pictures, the same every time."""

    def make(*names: str, shape: tuple[int, ...] = (3, 2, 8, 8)) -> dict[str, Branch]:
        made = {}
        for name in names:
            seed = ("conditional", "null", "negative", "weak", "classifier").index(name)
            generator = torch.Generator().manual_seed(seed)
            made[name] = Branch(Fixed(torch.randn(shape, generator=generator, dtype=torch.float64)), {})
        return made

    return make


@pytest.fixture
def noisy() -> Tensor:
    """One x for them."""
    return 3 * torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
