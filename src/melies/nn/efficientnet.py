"""EfficientNet-Lite0, evaluated only: that of Tan & Le (2019) without squeeze-and-excitation, and with ReLU6.

The weights have the names that the PyTorch port of EfficientNet gave them.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from melies.nn.frozen import normalised, pad_evenly, weight

SIZE = 224
"""Side of the pictures it was trained on, in pixels."""
DIM = 1280
"""Length of a feature vector."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the channels, on the scale 0 … 1: pictures are standardised with these."""


class Stage(NamedTuple):
    """Some inverted residual blocks; only the first has the stride, and no block with one is skipped over."""

    blocks: int
    stride: int


STAGES = (Stage(1, 1), Stage(2, 2), Stage(2, 2), Stage(3, 2), Stage(3, 1), Stage(4, 2), Stage(1, 1))
"""Table 1 of the paper; widths and kernels are those of the weights."""


def efficientnet_features(
    weights: Mapping[str, Tensor], pixels: Float[Tensor, "b 3 h w"]
) -> Float[Tensor, "b d"]:
    """The pooled vector before the classifier, of standardised pictures.

    Raises:
        UserError: If the weights are those of another network.
    """
    x = _layer(weights, pixels, "_conv_stem", "_bn0", stride=2)
    index = 0
    for stage in STAGES:
        for place in range(stage.blocks):
            x = _block(weights, x, f"_blocks.{index}.", stride=stage.stride if place == 0 else 1)
            index += 1
    return _layer(weights, x, "_conv_head", "_bn1").mean((2, 3))


def _block(weights: Mapping[str, Tensor], x: Tensor, name: str, *, stride: int) -> Tensor:
    """Widen, convolve each channel by itself, narrow without an activation (Sandler et al. 2018, fig. 3)."""
    inside = x
    if f"{name}_expand_conv.weight" in weights:  # the first block has none
        inside = _layer(weights, inside, f"{name}_expand_conv", f"{name}_bn0")
    inside = _layer(weights, inside, f"{name}_depthwise_conv", f"{name}_bn1", stride=stride)
    inside = _layer(weights, inside, f"{name}_project_conv", f"{name}_bn2", activation=False)
    return x + inside if inside.shape == x.shape and stride == 1 else inside


def _layer(
    weights: Mapping[str, Tensor],
    x: Tensor,
    convolution: str,
    norm: str,
    *,
    stride: int = 1,
    activation: bool = True,
) -> Tensor:
    kernel, bias = normalised(weights, convolution, norm)
    groups = x.shape[1] // weight(weights, f"{convolution}.weight").shape[1]
    x = F.conv2d(pad_evenly(x, kernel.shape[-1], stride), kernel, bias, stride=stride, groups=groups)
    return F.relu6(x) if activation else x
