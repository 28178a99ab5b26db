"""HED (Xie & Tu 2015), holistically nested edges, in the version of ControlNet; evaluated only.

The network of `ControlNetHED.pth`: VGG-16's convolutions in five blocks, each of which draws edges of its
own; it is given red first, in levels of 8 bits.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from melies.nn.frozen import weight

_CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Of each block."""


def hed_edges(weights: Mapping[str, Tensor], pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
    """The probability of an edge, of pictures from 0 to 255: the mean of the five drawings, as logits.

    Raises:
        UserError: If the weights are those of another network.
    """
    x = pixels - weight(weights, "norm")
    total = torch.zeros_like(pixels[:, :1])
    for number, count in enumerate(_CONVOLUTIONS, 1):
        if number > 1:
            x = F.max_pool2d(x, 2)
        for layer in range(count):
            x = F.relu(_convolved(weights, x, f"block{number}.convs.{layer}", padding=1))
        drawn = _convolved(weights, x, f"block{number}.projection")
        total = total + F.interpolate(drawn, pixels.shape[2:], mode="bilinear", align_corners=False)
    return torch.sigmoid(total / len(_CONVOLUTIONS))


def _convolved(weights: Mapping[str, Tensor], x: Tensor, name: str, *, padding: int = 0) -> Tensor:
    return F.conv2d(x, weight(weights, f"{name}.weight"), weight(weights, f"{name}.bias"), padding=padding)
