"""The plain autoencoder: it learns nothing about where its latents lie until a prior is fitted."""

import pytest
import torch

from melies import checkpoint
from melies.autoencoders.ae import Autoencoder, AutoencoderConfig
from melies.autoencoders.network import HalvesConfig
from melies.errors import UserError
from melies.rng import noise_for

SMALL = HalvesConfig(size=8, latent_dim=3, widths=(8,), hidden=16)


def latents(count: int = 400) -> torch.Tensor:
    """Two clumps along a slanted line."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 3, generator=generator) * torch.tensor([1.0, 0.1, 0.1])
    return x + 5 * (torch.arange(count) % 2)[:, None]


def test_without_a_prior_it_says_so():
    model = Autoencoder(AutoencoderConfig(network=SMALL))
    with pytest.raises(UserError, match="has no prior over its latents until one is fitted"):
        model.sample(1, noise=noise_for([0]))


class Shown(torch.nn.Module):
    """A decoder that shows the latent itself."""

    def forward(self, latents, labels=None):
        return latents[:, :, None, None]


def test_it_draws_what_its_latents_hold():
    model, data = Autoencoder(AutoencoderConfig(network=SMALL, components=2)), latents()
    model.decoder = Shown()
    model.fit_prior(data)
    drawn = model.sample(2000, noise=noise_for(range(2000)))[:, :, 0, 0]
    torch.testing.assert_close(drawn.mean(0), data.mean(0), atol=0.25, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), data.T.cov(), atol=0.4, rtol=0)
    in_the_hole = (drawn[:, 1] - 2.5).abs() < 1
    assert not bool(in_the_hole.any())  # where one Gaussian would put every third draw


def test_the_prior_is_kept_in_the_checkpoint(tmp_path):
    model = Autoencoder(AutoencoderConfig(network=SMALL, components=2, covariance="diagonal")).eval()
    empty = checkpoint.load(checkpoint.save(tmp_path / "empty", model)).model
    with pytest.raises(UserError, match="no prior"):
        empty.sample(1, noise=noise_for([0]))
    model.fit_prior(latents())
    again = checkpoint.load(checkpoint.save(tmp_path / "fitted", model)).model
    first, second = (m.sample(3, noise=noise_for([1, 2, 3])) for m in (model, again))
    assert torch.equal(first, second)


def test_what_does_not_fit_is_refused():
    model = Autoencoder(AutoencoderConfig(network=SMALL))
    with pytest.raises(UserError, match="knows grey 8×8 pictures, and these are colour 8×8"):
        model.encode(torch.zeros(1, 3, 8, 8))
    with pytest.raises(UserError, match="has no classes"):
        model.decode(torch.zeros(1, 3), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(UserError, match="components"):
        AutoencoderConfig(components=0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"latent_dim": 0}, "latent_dim = 0"),
        ({"size": 30}, "30 cannot be halved 2 times"),
        ({"widths": ()}, "at least one width"),
        ({"widths": (12,)}, "not a multiple of 8"),
        ({"channels": 0}, "channels = 0"),
        ({"hidden": 0}, "hidden = 0"),
        ({"decoder_blocks": 0}, "decoder_blocks = 0"),
    ],
)
def test_networks_that_cannot_be_are_refused(fields, said):
    with pytest.raises(UserError, match=said):
        HalvesConfig(**fields)
