"""Weights that others have saved: tables of named tensors, and nothing that runs."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from melies.checkpoint import read_tensors
from melies.errors import UserError

PICKLED = (".pth", ".pt", ".ckpt", ".bin")
"""Files that are read as plain tensors or not at all."""
WRAPPERS = ("state_dict", "model", "model_state_dict", "ema", "params")
"""Names under which a training script keeps its weights in a file."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` or a `.pth` file, in float32.

    Raises:
        UserError: If the file holds code, is damaged, or has no plain table of named tensors.
    """
    return read_tensors(path) if path.suffix == ".safetensors" else read_pickled(path)


def read_pickled(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.pth` file, in float32; a file that holds anything else is refused unread.

    Raises:
        UserError: If the file holds code, is damaged, or has no plain table of named tensors.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whatever an unusual file makes the reader say
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = "it holds more than tensors" if "weights_only" in str(error).lower() else "it is damaged"
        raise UserError(
            f"cannot be read: {reason}, and melies never runs what is in a file",
            where=str(path),
            remedy="ask for the weights as safetensors",
        ) from None
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(v, Tensor) for v in content.values())
    ):
        raise UserError("holds no table of named tensors", where=str(path), remedy="save model.state_dict()")
    return {str(key): value.float() if value.is_floating_point() else value for key, value in content.items()}
