"""The residual block of the modern pair: grouped convolutions, no normalisation."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from melies.gan.config import ResidualConfig

SLOPE = 0.2
"""Of leaky rectifiers below zero, in all networks of GANs (Radford et al. 2016, §3)."""


class GroupedResidual(nn.Module):
    """x + W₃ f(G₂ f(W₁ x)): 1×1 to more channels, grouped 3×3, 1×1 back (Huang et al. 2024, §3.2).

    W₃ starts at zero, so that a fresh block is the identity, and W₁ and G₂ at He's scale times
    L^(−1/4), L the number of blocks in a row, so that updates do not grow with depth without any
    normalisation (Zhang et al. 2019, "Fixup", §3, for branches of three layers).
    """

    def __init__(self, width: int, config: ResidualConfig, *, num_blocks: int) -> None:
        """Build a block of `width` channels, one of `num_blocks` in a row."""
        super().__init__()
        inner = width * config.expansion
        self.widen = nn.Conv2d(width, inner, 1)
        self.mix = nn.Conv2d(inner, inner, 3, padding=1, groups=inner // config.group_width)
        self.narrow = nn.Conv2d(inner, width, 1, bias=False)
        for conv in (self.widen, self.mix):
            start(conv, scale=num_blocks**-0.25)
        nn.init.zeros_(self.narrow.weight)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Same shape out as in."""
        hidden = F.leaky_relu(self.widen(x), SLOPE)
        return x + self.narrow(F.leaky_relu(self.mix(hidden), SLOPE))


def start(layer: nn.Conv2d | nn.Linear, *, scale: float = 1.0) -> None:
    """He's normal initialisation (He et al. 2015, eq. 15) for a leaky rectifier, times `scale`; no bias."""
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    layer.weight.data.mul_(scale)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
