"""What a rung draws to be measured by, kept on disk: figures show what the numbers are about."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from safetensors.torch import save as tensor_bytes
from torch import Tensor

from melies.checkpoint import read_tensors
from melies.files import write_bytes
from melies.images.families import Family
from melies.progress import Progress, silent

BATCH = 100
"""Pictures drawn at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """Pictures of one rung."""

    pixels: UInt8[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"] | None
    """The classes that were asked for, in turn; None of a model without classes."""
    seconds: float
    """That drawing them took."""


def draw_many(family: Family, count: int, *, seed: int, progress: Progress = silent) -> Drawn:
    """`count` pictures of the seeds from `seed` on, the classes in turn where there are some."""
    num_classes = len(family.model.classes)
    labels = torch.arange(count) % num_classes if num_classes else None
    started = time.perf_counter()
    pixels = family.sample(range(seed, seed + count), labels, batch_size=BATCH, progress=progress)
    return Drawn(pixels=pixels, labels=labels, seconds=time.perf_counter() - started)


def write_drawn(path: Path, drawn: Drawn) -> Path:
    """Keep pictures with what was asked for."""
    tensors = {"pixels": drawn.pixels.contiguous(), "seconds": torch.tensor(drawn.seconds)}
    if drawn.labels is not None:
        tensors["labels"] = drawn.labels
    return write_bytes(path, tensor_bytes(tensors))


def read_drawn(path: Path) -> Drawn:
    """The pictures in a file.

    Raises:
        UserError: If it is missing or damaged.
    """
    tensors = read_tensors(path)
    return Drawn(
        pixels=tensors["pixels"], labels=tensors.get("labels"), seconds=float(tensors.get("seconds", 0.0))
    )
