"""Discriminators: a picture, and a class where there are any, to the logit of being real."""

from jaxtyping import Float, Int64
from torch import Tensor, nn

from melies.gan.block import SLOPE, GroupedResidual, start
from melies.gan.config import ConvolutionalConfig, GANConfig, ResidualConfig
from melies.gan.generator import start_small


def build_discriminator(config: GANConfig) -> nn.Module:
    """The discriminator of a config, untrained: `(pixels (b, c, h, w), labels (b,) | None) → logits (b,)`."""
    match config.network:
        case ResidualConfig():
            return ResidualDiscriminator(config, config.network)
        case ConvolutionalConfig():
            return ConvolutionalDiscriminator(config, config.network)


class Projection(nn.Module):
    """Logit w·φ + b of features φ, plus ⟨e(y), φ⟩ with classes (Miyato & Koyama 2018, eq. 3)."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.logit = nn.Linear(dim, 1)
        self.label = nn.Embedding(num_classes, dim) if num_classes else None
        if self.label is not None:
            nn.init.normal_(self.label.weight, std=dim**-0.5)  # so that class and content weigh the same

    def forward(
        self, features: Float[Tensor, "b d"], labels: Int64[Tensor, " b"] | None
    ) -> Float[Tensor, " b"]:
        """Raises ValueError if labels are given without classes, or are not given with them."""
        if (labels is None) != (self.label is None):
            raise ValueError("labels are for a model with classes, and needed there")
        logits = self.logit(features)[:, 0]
        if self.label is not None and labels is not None:
            logits = logits + (features * self.label(labels)).sum(1)
        return logits.float()


class ResidualDiscriminator(nn.Module):
    """Residual blocks at shrinking sizes, then one layer over all cells: the generator mirrored."""

    def __init__(self, config: GANConfig, network: ResidualConfig) -> None:
        super().__init__()
        widths, cells = network.widths, config.cells
        num_blocks = network.blocks * len(widths)
        layers: list[nn.Module] = [
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * config.channels, widths[0], 3, padding=1),
        ]
        for i, width in enumerate(widths):
            layers += [GroupedResidual(width, network, num_blocks=num_blocks) for _ in range(network.blocks)]
            if i < len(widths) - 1:
                layers += [nn.AvgPool2d(2), nn.Conv2d(width, widths[i + 1], 1, bias=False)]
        last = nn.Linear(widths[-1] * cells**2, network.features)
        self.trunk = nn.Sequential(*layers, nn.LeakyReLU(SLOPE), nn.Flatten(), last, nn.LeakyReLU(SLOPE))
        self.head = Projection(network.features, len(config.classes))
        for layer in (last, self.head.logit, *(m for m in layers if isinstance(m, nn.Conv2d))):
            start(layer)

    def forward(
        self, pixels: Float[Tensor, "b c h w"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, " b"]:
        """Logits, float32."""
        return self.head(self.trunk(pixels), labels)


class ConvolutionalDiscriminator(nn.Module):
    """Strided convolutions with batch normalisation and leaky rectifiers (Radford et al. 2016, §3 and §4)."""

    def __init__(self, config: GANConfig, network: ConvolutionalConfig) -> None:
        super().__init__()
        widths = network.widths
        layers: list[nn.Module] = []
        for i, width in enumerate(widths):
            before = widths[i - 1] if i else config.channels
            layers.append(nn.Conv2d(before, width, 4, stride=2, padding=1, bias=i == 0))
            layers += [nn.BatchNorm2d(width)] if i else []  # not at the input, as there
            layers.append(nn.LeakyReLU(SLOPE))
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        self.head = Projection(widths[-1] * config.cells**2, len(config.classes))
        start_small(self.trunk)
        start_small(self.head)

    def forward(
        self, pixels: Float[Tensor, "b c h w"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, " b"]:
        """Logits, float32."""
        return self.head(self.trunk(pixels), labels)
