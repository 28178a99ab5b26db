"""A diffusion model among families: its ODE against the exact transport of a Gaussian, and both ways."""

import pytest
import torch
from torch import nn

from melies.data.synthetic import GaussianTruth
from melies.images.generate import draw
from melies.images.inversion import DiffusionPictures
from melies.rng import noise_for
from melies.transform import PixelRange


@pytest.fixture
def exact(pixel_model, monkeypatch):
    """A model whose denoiser is that of a Gaussian of the pixels, so that its transport is known."""
    truth = GaussianTruth(mean=torch.full((1, 8, 8), 0.3), std=pixel_model.config.sigma_data)

    class Exact(nn.Module):
        def forward(self, x, sigma, condition, *, attention=None, residuals=None):
            return truth(x, sigma)

    pixel_model.denoiser = Exact()
    pixel_model.anchor = nn.Parameter(torch.zeros(1))  # its device is asked of a parameter
    return pixel_model, truth


def test_latents_are_what_the_exact_transport_gives(exact):
    model, truth = exact
    pictures = DiffusionPictures(model, num_steps=60)
    x0 = truth.sample(3, torch.Generator().manual_seed(0))
    config = model.config
    transported = truth.transport(x0, config.sigma_min, config.sigma_max)
    length = (config.sigma_max**2 + config.sigma_data**2) ** 0.5
    torch.testing.assert_close(pictures.encode(x0), transported / length, rtol=0, atol=0.02)


def test_latents_of_data_have_the_scale_of_noise(exact):
    model, truth = exact
    latents = DiffusionPictures(model).encode(truth.sample(200, torch.Generator().manual_seed(0)))
    assert float(latents.mean()) == pytest.approx(0, abs=0.02)
    assert float(latents.std()) == pytest.approx(1, abs=0.02)


def test_decoding_undoes_encoding(exact):
    model, truth = exact
    pictures = DiffusionPictures(model, num_steps=40)
    x0 = truth.sample(4, torch.Generator().manual_seed(0))
    torch.testing.assert_close(pictures.decode(pictures.encode(x0)), x0, rtol=0, atol=5e-3)


def test_a_class_asked_for_is_the_picture_that_drawing_gives(pixel_model):
    options = {"num_steps": 4, "sampler": "heun"}
    pictures = DiffusionPictures(pixel_model, scale=3.0, **options)
    sampled = pictures.sample(2, noise=noise_for([5, 6]), labels=torch.tensor([0, 2]))
    drawn = draw(pixel_model, classes=["bag", "shirt"], scale=3.0, seeds=[5, 6], **options)
    assert torch.equal(PixelRange().inverse(sampled), drawn)


def test_the_class_matters_on_the_way_through_latents_and_none_is_the_null(pixel_model):
    pictures = DiffusionPictures(pixel_model, num_steps=4)
    x = torch.rand(2, 1, 8, 8) * 2 - 1
    bags, shirts, nothing = (
        pictures.encode(x, labels) for labels in (torch.tensor([0, 0]), torch.tensor([2, 2]), None)
    )
    assert not torch.allclose(bags, shirts, atol=1e-4)
    condition = {"class": torch.tensor([0, 0]), "present.class": torch.tensor([False, False])}
    level = torch.ones(2)
    torch.testing.assert_close(pictures._denoise(None)(x, level), pixel_model(x, level, condition))
    assert not torch.allclose(bags, nothing, atol=1e-4)


def test_a_model_of_words_and_latents_goes_both_ways(latent_model):
    pictures = DiffusionPictures(latent_model, num_steps=6)
    assert (pictures.shape, pictures.classes) == ((3, 16, 16), ())
    latents = pictures.encode(torch.rand(2, 3, 16, 16) * 2 - 1)
    assert latents.shape == (2, 4, 4, 4)
    assert pictures.decode(latents).shape == (2, 3, 16, 16)
    assert pictures.sample(2, noise=noise_for([0, 1])).shape == (2, 3, 16, 16)
