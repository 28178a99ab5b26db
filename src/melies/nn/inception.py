"""Inception-v3 (Szegedy et al. 2016) as the FID has it, evaluated only.

The network of TensorFlow's release of 2015-12-05: where it pools averages, cells beyond the edge do not
count, and its last block pools maxima. The weights have the names that the PyTorch ports of the FID
gave them.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from melies.nn.frozen import normalised

SIZE = 299
"""Side of the pictures it was trained on, in pixels."""
DIM = 2048
"""Length of a feature vector."""

_A = (("branch1x1",), ("branch5x5_1", "branch5x5_2"), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"))
"""Figure 5 of the paper: 35×35 cells."""
_B = (("branch3x3",), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"))
_C = (
    ("branch1x1",),
    ("branch7x7_1", "branch7x7_2", "branch7x7_3"),
    ("branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"),
)
"""Figure 6: 17×17 cells."""
_D = (("branch3x3_1", "branch3x3_2"), ("branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"))
_E = (
    ("branch1x1",),
    ("branch3x3_1", ("branch3x3_2a", "branch3x3_2b")),
    ("branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")),
)
"""Figure 7: 8×8 cells; a pair takes the same cells, and both results are kept."""


def inception_features(
    weights: Mapping[str, Tensor], pixels: Float[Tensor, "b 3 h w"]
) -> Float[Tensor, "b d"]:
    """The pooled vector before the classifier, of pictures 299×299 in [−1, 1).

    Raises:
        UserError: If the weights are those of another network.
    """
    x = _layer(weights, pixels, "Conv2d_1a_3x3", stride=2, padded=False)
    x = _layer(weights, x, "Conv2d_2a_3x3", padded=False)
    x = _layer(weights, x, "Conv2d_2b_3x3")
    x = F.max_pool2d(x, 3, stride=2)
    x = _layer(weights, x, "Conv2d_3b_1x1", padded=False)
    x = _layer(weights, x, "Conv2d_4a_3x3", padded=False)
    x = F.max_pool2d(x, 3, stride=2)
    for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = _mixed(weights, x, name, _A)
    x = _reduced(weights, x, "Mixed_6a", _B)
    for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = _mixed(weights, x, name, _C)
    x = _reduced(weights, x, "Mixed_7a", _D)
    x = _mixed(weights, x, "Mixed_7b", _E)
    return _mixed(weights, x, "Mixed_7c", _E, maximum=True).mean((2, 3))


def _mixed(
    weights: Mapping[str, Tensor], x: Tensor, name: str, branches: tuple, *, maximum: bool = False
) -> Tensor:
    """Chains of convolutions side by side, and one after a pooling."""
    if maximum:
        pooled = F.max_pool2d(x, 3, stride=1, padding=1)
    else:
        pooled = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    found = [part for branch in branches for part in _chain(weights, x, name, branch)]
    return torch.cat([*found, _layer(weights, pooled, f"{name}.branch_pool")], 1)


def _reduced(weights: Mapping[str, Tensor], x: Tensor, name: str, branches: tuple) -> Tensor:
    """Chains of which the last convolution halves the size, and a pooling that does."""
    found = []
    for *inner, last in branches:
        (cells,) = _chain(weights, x, name, inner)
        found.append(_layer(weights, cells, f"{name}.{last}", stride=2, padded=False))
    return torch.cat([*found, F.max_pool2d(x, 3, stride=2)], 1)


def _chain(weights: Mapping[str, Tensor], x: Tensor, name: str, layers) -> list[Tensor]:
    parts = [x]
    for layer in layers:
        names = (layer,) if isinstance(layer, str) else layer
        parts = [_layer(weights, parts[0], f"{name}.{each}") for each in names]
    return parts


def _layer(
    weights: Mapping[str, Tensor], x: Tensor, name: str, *, stride: int = 1, padded: bool = True
) -> Tensor:
    kernel, bias = normalised(weights, f"{name}.conv", f"{name}.bn")
    padding = tuple(side // 2 for side in kernel.shape[2:]) if padded else (0, 0)
    return F.relu(F.conv2d(x, kernel, bias, stride=stride, padding=padding))
