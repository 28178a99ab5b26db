"""Generators: a latent, and a class where there are any, to a picture."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from melies.gan.block import SLOPE, GroupedResidual, start
from melies.gan.config import ConvolutionalConfig, GANConfig, ResidualConfig


def build_generator(config: GANConfig) -> nn.Module:
    """The generator of a config, untrained: `(z (b, d), labels (b,) or None) → pixels (b, c, h, w)`."""
    match config.network:
        case ResidualConfig():
            return ResidualGenerator(config, config.network)
        case ConvolutionalConfig():
            return ConvolutionalGenerator(config, config.network)


class Condition(nn.Module):
    """The latent with the embedding of its class beside it; the latent alone without classes."""

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        count = len(config.classes)
        self.label = nn.Embedding(count, config.latent_dim) if count else None
        self.dim = config.latent_dim * (2 if count else 1)

    def forward(self, z: Float[Tensor, "b d"], labels: Int64[Tensor, " b"] | None) -> Float[Tensor, "b e"]:
        """Raises ValueError if labels are given without classes, or are not given with them."""
        if (labels is None) != (self.label is None):
            raise ValueError("labels are for a model with classes, and needed there")
        if self.label is None or labels is None:
            return z
        return torch.cat([z, self.label(labels)], 1)


class ResidualGenerator(nn.Module):
    """The latent to a few cells in some layers, then residual blocks at growing sizes, up to a picture.

    Sizes double by interpolation; only the last doubling folds channels into space (Shi et al. 2016),
    so that nothing is computed at full size.
    """

    def __init__(self, config: GANConfig, network: ResidualConfig) -> None:
        super().__init__()
        widths, cells = network.widths, config.cells
        self.condition = Condition(config)
        dims = [self.condition.dim, *[network.hidden] * network.mapping]
        mapping = [nn.Linear(before, after) for before, after in pairwise(dims)]
        self.mapping = nn.ModuleList(mapping)
        self.cells = nn.Linear(network.hidden, widths[-1] * cells**2)
        num_blocks = network.blocks * len(widths)
        layers: list[nn.Module] = [nn.Unflatten(1, (widths[-1], cells, cells))]
        for i, width in reversed(list(enumerate(widths))):
            if i < len(widths) - 1:
                layers += [nn.Conv2d(widths[i + 1], width, 1, bias=False), _Double()]
            layers += [GroupedResidual(width, network, num_blocks=num_blocks) for _ in range(network.blocks)]
        self.trunk = nn.Sequential(*layers)
        self.out = nn.Conv2d(widths[0], 4 * config.channels, 3, padding=1)
        convolutions = (m for m in layers if isinstance(m, nn.Conv2d))
        for layer in (*mapping, self.cells, self.out, *convolutions):
            start(layer)

    def forward(
        self, z: Float[Tensor, "b d"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Pictures, about [−1, 1]."""
        hidden = self.condition(z, labels)
        for layer in self.mapping:
            hidden = F.leaky_relu(layer(hidden), SLOPE)
        cells = self.trunk(self.cells(hidden))
        return F.pixel_shuffle(self.out(F.leaky_relu(cells, SLOPE)), 2)


class ConvolutionalGenerator(nn.Module):
    """Transposed convolutions with batch normalisation and rectifiers (Radford et al. 2016, §3 and §4)."""

    def __init__(self, config: GANConfig, network: ConvolutionalConfig) -> None:
        super().__init__()
        widths, cells = network.widths, config.cells
        self.condition = Condition(config)
        last = widths[-1]
        layers: list[nn.Module] = [
            nn.Linear(self.condition.dim, last * cells**2, bias=False),
            nn.Unflatten(1, (last, cells, cells)),
            nn.BatchNorm2d(last),
            nn.ReLU(),
        ]
        for before, width in zip(widths[:0:-1], widths[-2::-1], strict=True):
            layers += [
                nn.ConvTranspose2d(before, width, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
        layers += [nn.ConvTranspose2d(widths[0], config.channels, 4, stride=2, padding=1), nn.Tanh()]
        self.trunk = nn.Sequential(*layers)
        start_small(self.trunk)

    def forward(
        self, z: Float[Tensor, "b d"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Pictures in [−1, 1]."""
        return self.trunk(self.condition(z, labels))


def start_small(network: nn.Module) -> None:
    """Weights from N(0, 0.02²), as DCGAN starts (Radford et al. 2016, §4)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class _Double(nn.Module):
    """Twice the size, by bilinear interpolation."""

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
