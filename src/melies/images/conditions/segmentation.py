"""Classes of every pixel, by a network of transformers, in the colours of ADE20K."""

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from melies.errors import UserError
from melies.images.conditions.each import Colour, Pixels, on_white
from melies.images.conditions.frozen import back_to, open_dense
from melies.images.conditions.palette import ADE20K


def open_segmentation(weights: Path) -> Callable[[Tensor], Tensor]:
    """The classes of pictures in the colours of ADE20K, which the public segmentation ControlNets read.

    Raises:
        UserError: If the weights cannot be loaded, or know other than 150 classes.
    """
    look, config = open_dense("transformers:AutoModelForSemanticSegmentation", weights)
    if (found := getattr(config, "num_labels", None)) != len(ADE20K):
        raise UserError(
            f"a model of {found} classes, and ADE20K has {len(ADE20K)}",
            where=str(weights),
            remedy="give one that was trained on ADE20K",
        )

    def segmentation(pixels: Pixels) -> Colour:
        return torch.cat([coloured(_classes(look, picture)) for picture in on_white(pixels)])

    return segmentation


def coloured(classes: Int[Tensor, "n h w"]) -> UInt8[Tensor, "n 3 h w"]:
    """A map of class numbers from 0 to 149 in the colours of ADE20K.

    Raises:
        UserError: If a number is not one of them.
    """
    if classes.numel() and not 0 <= int(classes.min()) <= int(classes.max()) < len(ADE20K):
        raise UserError(f"classes {int(classes.min())} to {int(classes.max())} are not all in 0 to 149")
    return torch.tensor(ADE20K, dtype=torch.uint8)[classes.long()].permute(0, 3, 1, 2).contiguous()


def _classes(look: Callable, picture: Tensor) -> Tensor:
    return back_to(look(picture).logits.float(), picture).argmax(1)
