"""Layers that are only ever evaluated, with the weights of others, read by the names that those gave them."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from melies.errors import UserError

Weights = Mapping[str, Tensor]
"""Name → tensor, as in the file that they come from."""


def weight(weights: Weights, name: str) -> Tensor:
    """The tensor called `name`.

    Raises:
        UserError: If there is none: the weights are those of another network.
    """
    if name not in weights:
        raise UserError(f"the weights have no {name}: they are those of another network")
    return weights[name]


def normalised(
    weights: Weights, convolution: str, norm: str, *, epsilon: float = 1e-3
) -> tuple[Float[Tensor, "out into kh kw"], Float[Tensor, " out"]]:
    """Kernel and bias of a convolution without a bias and of the batch normalisation after it, in one.

    Args:
        weights: Where they are.
        convolution: Name of the convolution.
        norm: Name of the normalisation, which is applied with its running moments.
        epsilon: Added to the variance.
    """
    kernel = weight(weights, f"{convolution}.weight")
    gain = weight(weights, f"{norm}.weight") * torch.rsqrt(weight(weights, f"{norm}.running_var") + epsilon)
    return kernel * gain[:, None, None, None], weight(weights, f"{norm}.bias") - gain * weight(
        weights, f"{norm}.running_mean"
    )


def pad_evenly(x: Float[Tensor, "b c h w"], kernel: int, stride: int) -> Float[Tensor, "b c h2 w2"]:
    """Zeros around x so that a convolution gives ⌈size / stride⌉ cells; an odd one goes right and below.

    TensorFlow's padding "same"; torch's own puts as many on both sides.
    """
    missing = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[2:]]
    (above, left), (below, right) = ([m // 2 for m in missing], [m - m // 2 for m in missing])
    return F.pad(x, (left, right, above, below))
