"""The likelihood of a VAE is that of pictures, whatever its decoder says of a pixel."""

import math

import pytest
import torch

from melies import checkpoint
from melies.autoencoders.network import HalvesConfig
from melies.autoencoders.vae import VAE, VAEConfig
from melies.data.images import ImageSet
from melies.images import inside
from melies.images.families import open_family


@pytest.fixture
def pictures() -> ImageSet:
    """Sixteen grey pictures of all levels."""
    pixels = torch.randint(0, 256, (16, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    names = tuple(map(str, range(16)))
    return ImageSet(pixels=pixels, texts=None, labels=None, classes=(), rows=({},) * 16, names=names)


@pytest.mark.parametrize(
    ("likelihood", "width"), [("discretized", 1.0), ("bernoulli", 1.0), ("gaussian", 2 / 255)]
)
def test_bits_are_those_of_levels_and_black_and_white_pictures_are_black_and_white(
    likelihood, width, pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(inside, "DRAWS", 4)
    network = HalvesConfig(channels=1, size=8, latent_dim=2, widths=(8,), hidden=8)
    folder = checkpoint.save(tmp_path / "vae", VAE(VAEConfig(network=network, likelihood=likelihood)))
    family = open_family(folder)
    seen, log_weights = [], VAE.log_weights

    def watched(self, pixels, *args):
        seen.append(pixels)
        return log_weights(self, pixels, *args)

    monkeypatch.setattr(VAE, "log_weights", watched)
    found = {metric.name: metric.value for metric in inside.measure_inside(family, None, pictures)}
    for name in ("−ELBO", "NLL, K = 4"):
        expected = found[name] / 64 / math.log(2) - math.log2(width)
        assert found[f"{name}, per dimension"] == pytest.approx(expected)
    levels = set(seen[0].unique().tolist())
    assert (levels == {-1.0, 1.0}) == (likelihood == "bernoulli")
