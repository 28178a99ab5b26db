"""Depth from one picture, by a network of transformers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from melies.errors import UserError
from melies.images.conditions.each import Grey, Pixels, on_white
from melies.images.conditions.frozen import back_to, open_dense
from melies.images.conditions.infrared import stretched

NEAREST_M = 0.1
"""Nearest distance in metres that a network of metric depth is believed."""


def open_depth(weights: Path) -> Callable[[Tensor], Tensor]:
    """How near things are, from the farthest (0) to the nearest (255): MiDaS's convention, of controlnet_aux.

    Raises:
        UserError: If the weights cannot be loaded.
    """
    inverse_depth = open_inverse_depth(weights)

    def depth(pixels: Pixels) -> Grey:
        found = [stretched(inverse_depth(picture)) for picture in on_white(pixels)]
        return torch.from_numpy(np.stack(found))[:, None]

    return depth


def open_inverse_depth(weights: Path) -> Callable[[UInt8[Tensor, "3 h w"]], Float32[np.ndarray, "h w"]]:
    """A function of one picture to inverse depth of unknown scale, larger is nearer.

    DPT, MiDaS and Depth Anything give that; the answer of networks of metric depth (those that say so, and
    ZoeDepth and GLPN) is a distance in metres and is inverted.

    Raises:
        UserError: If the weights cannot be loaded.
    """
    look, config = open_dense("transformers:AutoModelForDepthEstimation", weights)
    metric = getattr(config, "depth_estimation_type", None) == "metric" or getattr(
        config, "model_type", None
    ) in ("zoedepth", "glpn")

    def inverse_depth(picture: UInt8[Tensor, "3 h w"]) -> Float32[np.ndarray, "h w"]:
        answer: Tensor = look(picture).predicted_depth
        answer = answer.float().reshape(1, 1, *answer.shape[-2:])
        if not bool(answer.isfinite().all()):
            raise UserError("the depth model gives numbers that are not finite", where=str(weights))
        near = 1 / answer.clamp(min=NEAREST_M) if metric else answer
        return back_to(near, picture)[0, 0].numpy()

    return inverse_depth
