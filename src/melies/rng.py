"""Randomness as a function of seed and progress: nothing is drawn from hidden global state.

Numbers are always drawn on the CPU, so that one seed means one picture on every device.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from melies.interfaces import Noise


def generator_for(seed: int, *progress: int | str) -> torch.Generator:
    """A CPU generator that depends on the seed and on every word or number of `progress`.

    Sums of seed and progress would make neighbouring seeds share streams; a hash does not.
    """
    text = "/".join(str(part) for part in (seed, *progress))
    state = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    return torch.Generator().manual_seed(state >> 1)  # manual_seed takes a signed 64-bit number


def some_of(size: int, num: int, *, seed: int, name: str) -> Int64[Tensor, " k"]:
    """`num` of `size` places without replacement, in random order; all of them where there are no more."""
    return torch.randperm(size, generator=generator_for(seed, name))[:num]


@contextlib.contextmanager
def seeded(seed: int, *progress: int | str, device: torch.device | None = None) -> Iterator[None]:
    """Inside, torch's global generator on the CPU is that of `generator_for`; afterwards as it was before.

    For what torch draws without asking for a generator: the first weights of a network, and dropout. So
    is that of `device`, where it is a GPU.
    """
    gpus = [device] if device is not None and device.type == "cuda" else []
    generator = generator_for(seed, *progress)
    with torch.random.fork_rng(devices=gpus):
        torch.set_rng_state(generator.get_state())
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(generator.initial_seed())
        yield


def noise_for(seeds: Sequence[int]) -> Noise:
    """Noise for a batch in which sample i has its own seed, so that batching changes nothing.

    Returns:
        `noise(step, like)`: (b, …) standard normal in the dtype and on the device of `like`.
        Step −1 is the starting noise; sampler steps count from 0.
    """

    def noise(step: int, like: Tensor) -> Tensor:
        if len(seeds) != len(like):
            raise ValueError(f"{len(seeds)} seeds for a batch of {len(like)}")
        drawn = [torch.randn(like.shape[1:], generator=generator_for(seed, "noise", step)) for seed in seeds]
        return torch.stack(drawn).to(like)

    return noise
