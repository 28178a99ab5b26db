"""PiDiNet (Su et al. 2021), edges by differences of pixels; evaluated only.

The network of `table5_pidinet.pth`: 60 channels, four blocks of four residual layers, with dilated
convolutions and spatial attention before each drawing. A convolution of differences is an ordinary one of
another kernel, which is computed here from the weights of the file.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from melies.nn.frozen import weight

_BLOCKS = (3, 4, 4, 4)
"""Layers of each block; the first block has the network's first convolution besides."""
_DILATIONS = (5, 7, 9, 11)
_RING = (3, 0, 1, 6, 4, 2, 7, 8, 5)
"""Which of the nine cells comes before each on the way round the middle one, which is its own."""
_OUTER = (0, 2, 4, 10, 14, 20, 22, 24)
_INNER = (6, 7, 8, 11, 13, 16, 17, 18)
"""Cells of a 5×5 kernel on the eight rays from its middle, two steps and one step away."""


def pidinet_edges(
    weights: Mapping[str, Tensor], pixels: Float[Tensor, "b 3 h w"]
) -> Float[Tensor, "b 1 h w"]:
    """The probability of an edge, of pictures from 0 to 1.

    Raises:
        UserError: If the weights are those of another network.
    """
    x = F.conv2d(pixels, central(weight(weights, "init_block.weight")), padding=1)
    drawn, number = [], 1
    for block, layers in enumerate(_BLOCKS, 1):
        for layer in range(1, layers + 1):
            halved = block > 1 and layer == 1
            x = _residual(weights, x, f"block{block}_{layer}", number, halved=halved)
            number += 1
        edges = _drawing(weights, x, block - 1)
        drawn.append(F.interpolate(edges, pixels.shape[2:], mode="bilinear", align_corners=False))
    return torch.sigmoid(_convolved(weights, torch.cat(drawn, 1), "classifier"))


def central(kernel: Float[Tensor, "out into 3 3"]) -> Float[Tensor, "out into 3 3"]:
    """Of differences to the middle: Σ wᵢ (xᵢ − x₀), equation 2 of the paper (CPDC)."""
    middle = torch.zeros_like(kernel)
    middle[..., 1, 1] = kernel.sum((2, 3))
    return kernel - middle


def angular(kernel: Float[Tensor, "out into 3 3"]) -> Float[Tensor, "out into 3 3"]:
    """Of differences of neighbours on the ring: Σ wᵢ (xᵢ − xᵢ₊₁), the paper's APDC."""
    cells = kernel.flatten(2)
    return (cells - cells[:, :, list(_RING)]).view_as(kernel)


def radial(kernel: Float[Tensor, "out into 3 3"]) -> Float[Tensor, "out into 5 5"]:
    """Of differences along the eight rays: Σ wᵢ (x′ᵢ − xᵢ), x′ two steps away and x one (RPDC)."""
    cells = kernel.flatten(2)[:, :, 1:]  # the ninth weight, the first, is not used
    wide = kernel.new_zeros(*kernel.shape[:2], 25)
    wide[:, :, list(_OUTER)] = cells
    wide[:, :, list(_INNER)] = -cells
    return wide.unflatten(2, (5, 5))


_DIFFERENCES = (central, angular, radial, lambda kernel: kernel)
"""Of layers 0, 1, 2, 3, and so on round: the paper's best arrangement, "carv4"."""


def _residual(weights: Mapping[str, Tensor], x: Tensor, name: str, number: int, *, halved: bool) -> Tensor:
    """A convolution of each channel for itself, one across the channels, and what came in."""
    if halved:
        x = F.max_pool2d(x, 2)
    kernel = _DIFFERENCES[number % len(_DIFFERENCES)](weight(weights, f"{name}.conv1.weight"))
    inside = F.relu(F.conv2d(x, kernel, padding=kernel.shape[-1] // 2, groups=len(kernel)))
    inside = F.conv2d(inside, weight(weights, f"{name}.conv2.weight"))
    return inside + (_convolved(weights, x, f"{name}.shortcut") if halved else x)


def _drawing(weights: Mapping[str, Tensor], x: Tensor, block: int) -> Tensor:
    """One channel of edges: dilated convolutions, attention to places, and a sum."""
    x = _convolved(weights, F.relu(x), f"dilations.{block}.conv1")
    parts = [
        F.conv2d(
            x,
            weight(weights, f"dilations.{block}.conv2_{i}.weight"),
            padding=dilation,
            dilation=dilation,
        )
        for i, dilation in enumerate(_DILATIONS, 1)
    ]
    x = sum(parts[1:], parts[0])
    place = _convolved(weights, F.relu(x), f"attentions.{block}.conv1")
    place = F.conv2d(place, weight(weights, f"attentions.{block}.conv2.weight"), padding=1)
    return _convolved(weights, x * torch.sigmoid(place), f"conv_reduces.{block}.conv")


def _convolved(weights: Mapping[str, Tensor], x: Tensor, name: str) -> Tensor:
    return F.conv2d(x, weight(weights, f"{name}.weight"), weight(weights, f"{name}.bias"))
