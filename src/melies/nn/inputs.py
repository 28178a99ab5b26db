"""What models of pictures are handed: pictures of their shape, and labels where they have classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from melies.errors import UserError

COLOURS = {1: "grey", 3: "colour"}


def check_pictures(pixels: Tensor, shape: tuple[int, int, int]) -> None:
    """Refuse pictures (b, c, h, w) that are not of a model's shape (c, h, w).

    Raises:
        UserError: Saying which of them differ.
    """
    given = tuple(pixels.shape[1:])
    if given != shape:
        raise UserError(
            f"the model knows {_described(shape)} pictures, and these are {_described(given)}",
            remedy="read them in the model's size and colours",
        )


def check_labels(labels: Tensor | None, classes: Sequence[str], num: int) -> None:
    """Refuse labels that do not tell the class of each of `num` pictures.

    Args:
        labels: int64 (num,) numbers of `classes`; None for a model without classes.
        classes: The classes that the model knows; empty where it has none.
        num: How many pictures there are.

    Raises:
        UserError: If they are missing, of another number, out of range, or not asked for.
    """
    if labels is None:
        if classes:
            raise UserError(
                "this model needs the class of every picture", remedy=f"Valid: {', '.join(classes)}"
            )
        return
    if not classes:
        raise UserError("this model has no classes", remedy="leave the labels out")
    if labels.dtype != torch.int64 or labels.shape != (num,):
        raise UserError(
            f"labels are whole numbers (int64), one for each of {num} pictures,"
            f" and not {labels.dtype} of shape {tuple(labels.shape)}"
        )
    if num and not (0 <= int(labels.min()) and int(labels.max()) < len(classes)):
        raise UserError(
            f"labels from {int(labels.min())} to {int(labels.max())} for a model of {len(classes)} classes",
            remedy=f"number the classes from 0 to {len(classes) - 1}",
        )


def _described(shape: tuple[int, ...]) -> str:
    if len(shape) != 3:
        return f"{len(shape)}-dimensional"
    channels, height, width = shape
    return f"{COLOURS.get(channels, f'{channels}-channel')} {height}×{width}"
