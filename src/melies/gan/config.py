"""Shapes of GANs: one of two pairs of networks, and what it draws."""

from dataclasses import dataclass

from melies.config import check_positive
from melies.errors import UserError
from melies.nn.pyramid import cell_size, check_widths


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualConfig:
    """Residual networks without normalisation (Huang et al. 2024, "The GAN is dead; long live the GAN!").

    Unlike there, the smallest maps come from whole layers and go to one: small networks learn faster so.
    """

    widths: tuple[int, ...] = (32, 64)
    """Channels at 1/2, 1/4, 1/8 … of the picture's size, in both networks."""
    blocks: int = 1
    """Residual blocks per size."""
    expansion: int = 2
    """Channels inside a block, as a multiple of those outside."""
    group_width: int = 16
    """Channels of each group of the 3×3 convolutions."""
    hidden: int = 256
    """Numbers between the latent and the generator's smallest maps."""
    mapping: int = 2
    """Layers of that many numbers: with a second one regions of the latent are told apart sooner, and fewer
    classes are left out; many make the game unstable."""
    features: int = 128
    """Numbers that the discriminator reads a picture into, before its logit."""

    def __post_init__(self) -> None:
        """Check the ranges, and that the groups come out even."""
        for name in ("blocks", "expansion", "group_width", "hidden", "mapping", "features"):
            check_positive(name, getattr(self, name))
        check_widths(self.widths, where="ResidualConfig.widths")
        for width in self.widths:
            if width * self.expansion % self.group_width:
                raise UserError(
                    f"width {width} × expansion {self.expansion} does not divide by group_width ="
                    f" {self.group_width}",
                    where="ResidualConfig",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvolutionalConfig:
    """Strided convolutions with batch normalisation: DCGAN (Radford et al. 2016)."""

    widths: tuple[int, ...] = (64, 128)
    """Channels at 1/2, 1/4, 1/8 … of the picture's size, in both networks."""

    def __post_init__(self) -> None:
        """Check the widths."""
        check_widths(self.widths, where="ConvolutionalConfig.widths")


@dataclass(frozen=True, slots=True, kw_only=True)
class GANConfig:
    """What a GAN is made of."""

    network: ResidualConfig | ConvolutionalConfig
    """The pair of networks."""
    size: int = 28
    """Side of the pictures, in pixels."""
    channels: int = 1
    """Channels of a picture: 1 or 3."""
    latent_dim: int = 64
    """Numbers in a latent, standard normal."""
    classes: tuple[str, ...] = ()
    """Names of the classes; empty for a model without classes."""

    def __post_init__(self) -> None:
        """Check the ranges, and that the pictures can be halved as often as there are widths."""
        for name in ("size", "channels", "latent_dim"):
            check_positive(name, getattr(self, name))
        if len(self.classes) == 1 or len(set(self.classes)) < len(self.classes):
            raise UserError(
                f"{len(self.classes)} classes of {len(set(self.classes))} names cannot be told apart",
                where="GANConfig.classes",
                remedy="give at least two different names, or none for a model without classes",
            )
        _ = self.cells

    @property
    def cells(self) -> int:
        """Side of the smallest maps of features."""
        return cell_size(self.size, self.network.widths, where="GANConfig.size")
