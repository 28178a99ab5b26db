"""What each rung trains, sized to the pictures: the same depth and widths for every family."""

from dataclasses import replace
from typing import Any, NamedTuple

from melies.data.images import ImageSet
from melies.errors import UserError
from melies.gan.config import ConvolutionalConfig, ResidualConfig
from melies.nn.unet import UNetConfig
from melies.recipes import autoencoder, fashion_mnist, gan, vae, vqvae, vqvae_prior
from melies.recipes.ladder import BETAS
from melies.recipes.ladder.plan import Runs, Stage

WIDTHS = (32, 64, 96, 128)
"""Channels at 1/2, 1/4 … of the size; of a denoiser, which also works at full size, from there on."""


class Shape(NamedTuple):
    """What the sizes of the networks follow from."""

    channels: int
    size: int
    num_pictures: int
    sigma_data: float
    """Standard deviation of the pixels, on the scale of −1 to 1."""

    @property
    def halvings(self) -> int:
        """How often the pictures are halved: to 4 … 8 cells a side, or as often as the size allows."""
        times = 0
        while times == 0 or (self.size % 2 ** (times + 1) == 0 and self.size >> times > 8):
            times += 1
        return times

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels from half the size on."""
        return WIDTHS[: self.halvings] if self.halvings > 1 else (64,)

    @property
    def latent_dim(self) -> int:
        """Numbers in a latent: one for about fifty numbers of a picture."""
        return max(8, self.channels * self.size**2 // 48 // 8 * 8)

    @property
    def num_codes(self) -> int:
        """Codes in a codebook: at most 512, and few enough that each is met some dozens of times."""
        cells = (self.size // 2**self.halvings) ** 2
        codes = 512
        while codes > 16 and codes * 32 > self.num_pictures * cells:
            codes //= 2
        return codes


def shape_of(pictures: ImageSet) -> Shape:
    """The shape of a set of pictures.

    Raises:
        UserError: If the pictures cannot be halved.
    """
    n, channels, size, _ = pictures.pixels.shape
    if size % 2:
        raise UserError(
            f"pictures of {size}×{size} cannot be halved",
            where="size",
            remedy=f"read them at another size: --size {size + 1}",
        )
    return Shape(channels, size, n, max(0.05, float(pictures.pixels.double().std() / 127.5)))


def runs_of(rungs: tuple[str, ...], shape: Shape, *, seed: int) -> Runs:
    """The stages of every rung, and of the sweep over β where the VAE is one of them."""
    runs = {name: _STAGES[name](shape) for name in rungs}
    if "vae" in rungs:
        runs |= {sweep_name(beta): _vae(shape, replace(vae.CONFIG, beta=beta)) for beta in BETAS}
    return {name: tuple(_seeded(stage, seed) for stage in stages) for name, stages in runs.items()}


def sweep_name(beta: float) -> str:
    """The run of the sweep with one weight of the KL term."""
    return f"vae-beta-{beta:g}"


def _seeded(stage: Stage, seed: int) -> Stage:
    training = replace(stage.config.training, seed=seed)
    return stage._replace(config=replace(stage.config, training=training))


def _halves(shape: Shape, config: Any) -> Any:
    """The network of an autoencoder of vectors, for pictures of a shape."""
    return replace(
        config,
        size=shape.size,
        channels=shape.channels,
        latent_dim=shape.latent_dim,
        widths=shape.widths,
    )


def _autoencoder(shape: Shape) -> tuple[Stage, ...]:
    config = autoencoder.CONFIG
    model = replace(config.model, network=_halves(shape, config.model.network))
    return (Stage("", 1.0, replace(config, model=model), autoencoder.run),)


def _vae(shape: Shape, config: vae.VAERunConfig) -> tuple[Stage, ...]:
    model = replace(config.model, network=_halves(shape, config.model.network))
    return (Stage("", 1.0, replace(config, model=model), vae.run),)


def _vqvae(shape: Shape) -> tuple[Stage, ...]:
    first, second = vqvae.CONFIG, vqvae_prior.CONFIG
    model = replace(
        first.model,
        size=shape.size,
        channels=shape.channels,
        widths=shape.widths,
        quantizer=replace(first.model.quantizer, num_codes=shape.num_codes),
    )
    return (
        Stage("codes", 0.25, replace(first, model=model), vqvae.run),
        Stage("", 0.75, second, vqvae_prior.run),
    )


def _gan(shape: Shape, config: gan.GANRunConfig) -> tuple[Stage, ...]:
    model = replace(
        config.model,
        network=ResidualConfig(widths=shape.widths),
        size=shape.size,
        channels=shape.channels,
    )
    return (Stage("", 1.0, replace(config, model=model), gan.run),)


def _minimax(shape: Shape) -> tuple[Stage, ...]:
    config = gan.MINIMAX
    widths = tuple(2 * width for width in shape.widths) if shape.halvings > 1 else shape.widths
    model = replace(
        config.model,
        network=ConvolutionalConfig(widths=widths),
        size=shape.size,
        channels=shape.channels,
    )
    return (Stage("", 1.0, replace(config, model=model), gan.run),)


def _ddpm(shape: Shape) -> tuple[Stage, ...]:
    config = fashion_mnist.CONFIG
    network = UNetConfig(
        channels=shape.channels,
        size=shape.size,
        widths=WIDTHS[: shape.halvings + 1],
        attention=(shape.size >> shape.halvings,),
        head_dim=32,
        dim=128,
    )
    return (Stage("", 1.0, replace(config, network=network, sigma_data=shape.sigma_data), fashion_mnist.run),)


_STAGES = {
    "autoencoder": _autoencoder,
    "vae": lambda shape: _vae(shape, vae.CONFIG),
    "cvae": lambda shape: _vae(shape, vae.CONDITIONAL),
    "vqvae": _vqvae,
    "gan-minimax": _minimax,
    "gan": lambda shape: _gan(shape, gan.CONFIG),
    "gan-classes": lambda shape: _gan(shape, gan.CONDITIONAL),
    "ddpm": _ddpm,
}
