"""The plain residual block of codecs and classifiers; denoisers have modulated ones of their own."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Residual(nn.Module):
    """x + two 3×3 convolutions of x, group-normalised once (He et al. 2016, pre-activation form).

    The second convolution starts at zero, so that a fresh block is the identity.
    """

    def __init__(self, width: int) -> None:
        """Build a block of `width` channels, a multiple of 8."""
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Same shape out as in."""
        return x + self.second(F.silu(self.first(F.silu(self.norm(x)))))
