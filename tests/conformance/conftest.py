"""One small model of every family, with random weights everywhere: fresh networks would hide mistakes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn

from melies import checkpoint
from melies.autoencoders.ae import Autoencoder, AutoencoderConfig
from melies.autoencoders.network import HalvesConfig
from melies.autoencoders.prior import CodePrior, CodePriorConfig
from melies.autoencoders.quantize import CodebookConfig, FiniteScalarConfig
from melies.autoencoders.vae import VAE, VAEConfig
from melies.autoencoders.vqvae import VQVAE, VQVAEConfig, start_codebook
from melies.gan.config import ConvolutionalConfig, GANConfig, ResidualConfig
from melies.gan.model import GAN
from melies.images.families import Family, open_family
from melies.images.model import ImageDiffusion, ImageDiffusionConfig
from melies.nn.unet import UNetConfig

CLASSES = ("bag", "coat", "shirt")


CODEBOOK, RESIDUAL = CodebookConfig(num_codes=16, dim=4), ResidualConfig()


class Shape(NamedTuple):
    """Of the pictures of a model."""

    channels: int
    size: int

    @property
    def widths(self) -> tuple[int, ...]:
        """As many as lead to about four cells a side."""
        return (16,) * {8: 1, 28: 2, 32: 3, 64: 4}[self.size]


def _halves(shape: Shape) -> HalvesConfig:
    return HalvesConfig(
        channels=shape.channels, size=shape.size, latent_dim=6, widths=shape.widths, hidden=32
    )


def _autoencoder(shape: Shape, classes: tuple[str, ...]) -> nn.Module:
    model = Autoencoder(AutoencoderConfig(network=_halves(shape), components=2))
    model.fit_prior(torch.randn(64, 6, generator=torch.Generator().manual_seed(2)))
    return model


def _vae(shape: Shape, classes: tuple[str, ...]) -> nn.Module:
    return VAE(VAEConfig(network=_halves(shape), classes=classes))


def _bernoulli(shape: Shape, classes: tuple[str, ...]) -> nn.Module:
    return VAE(VAEConfig(network=_halves(shape), likelihood="bernoulli", classes=classes))


def _vqvae(shape: Shape, classes: tuple[str, ...], quantizer=CODEBOOK) -> nn.Module:
    config = VQVAEConfig(channels=shape.channels, size=shape.size, widths=shape.widths, quantizer=quantizer)
    prior = CodePriorConfig(
        num_codes=quantizer.num_codes, cells=config.cells, classes=classes, dim=16, depth=1, head_dim=8
    )
    model = VQVAE(config, prior=CodePrior(prior))
    generator = torch.Generator().manual_seed(2)
    if quantizer is CODEBOOK:  # which is empty until it has seen pictures
        some = torch.randint(0, 256, (64, shape.channels, shape.size, shape.size), generator=generator)
        start_codebook(model, some.to(torch.uint8), generator)
    return model


def _fsq(shape: Shape, classes: tuple[str, ...]) -> nn.Module:
    return _vqvae(shape, classes, FiniteScalarConfig(levels=(4, 4)))


def _gan(shape: Shape, classes: tuple[str, ...], network=RESIDUAL) -> nn.Module:
    config = GANConfig(
        network=replace(network, widths=shape.widths),
        channels=shape.channels,
        size=shape.size,
        latent_dim=8,
        classes=classes,
    )
    return GAN(config)


def _dcgan(shape: Shape, classes: tuple[str, ...]) -> nn.Module:
    return _gan(shape, classes, ConvolutionalConfig())


def _diffusion(shape: Shape, classes: tuple[str, ...]) -> nn.Module:
    network = UNetConfig(
        channels=shape.channels,
        size=shape.size,
        widths=(8, 16),
        blocks=1,
        attention=(),
        head_dim=8,
        dim=16,
        num_classes=len(classes),
    )
    return ImageDiffusion(
        ImageDiffusionConfig(
            network=network, size=shape.size, channels=shape.channels, sigma_data=0.5, classes=classes
        )
    )


BUILD: dict[str, Callable[[Shape, tuple[str, ...]], nn.Module]] = {
    "autoencoder": _autoencoder,
    "vae": _vae,
    "vae-bernoulli": _bernoulli,
    "vqvae": _vqvae,
    "vqvae-fsq": _fsq,
    "gan": _gan,
    "gan-dcgan": _dcgan,
    "diffusion": _diffusion,
}
"""Family → how a small one is built. A new family joins by one line here."""

WITHOUT_CLASSES = ("autoencoder",)
CASES = [
    *((name, ()) for name in BUILD),
    *((name, CLASSES) for name in BUILD if name not in WITHOUT_CLASSES),
]


def build(name: str, shape: Shape, classes: tuple[str, ...]) -> nn.Module:
    """A model with random weights, its buffers and parts included."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BUILD[name](shape, classes)
    generator = torch.Generator().manual_seed(1)
    for module in (model, *model.parts.values()):
        for parameter in module.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@pytest.fixture(autouse=True)
def _short_projection(monkeypatch):
    """The way back through a GAN is a descent, of which a few steps show all that is asked here."""
    for name, number in (("NUM_CANDIDATES", 16), ("NUM_STARTS", 2), ("FIRST_STEPS", 3), ("MORE_STEPS", 6)):
        monkeypatch.setattr(f"melies.gan.project.{name}", number)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}{'-classes' if case[1] else ''}")
def folder(request, tmp_path) -> Path:
    """The checkpoint of every family, with classes and without."""
    name, classes = request.param
    model = build(name, Shape(1, 8), classes)
    return checkpoint.save(tmp_path / "model" / "checkpoint-64", model, ema=model.state_dict())


@pytest.fixture
def family(folder) -> Family:
    """The same, opened."""
    return open_family(folder, num_steps=3)
