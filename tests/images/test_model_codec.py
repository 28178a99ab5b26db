"""The model of pictures and its codec."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal
from torch.distributions.kl import kl_divergence as exact_kl

from melies.errors import UserError
from melies.images.codec import CodecConfig, ImageCodec, kl_divergence, reconstruction_error
from melies.images.model import ImageDiffusion, ImageDiffusionConfig
from melies.interfaces import TextStates
from melies.nn.transformer import TransformerConfig
from melies.text.config import TextConfig


@given(st.integers(1, 4), st.integers(1, 5))
def test_the_kl_term_is_that_of_two_gaussians(batch, dim):
    mean, logvar = torch.randn(batch, dim, 2, 2), torch.randn(batch, dim, 2, 2)
    exact = exact_kl(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)).flatten(1).sum(1)
    assert torch.allclose(kl_divergence(mean, logvar), exact, atol=1e-4)


def test_the_reconstruction_error_counts_offset_and_edges():
    x = torch.zeros(1, 1, 8, 8)
    assert float(reconstruction_error(x + 0.5, x, edge_weight=1.0)) == pytest.approx(0.5)  # no edge is moved
    step = x.clone()
    step[..., 4:] = 1.0  # one edge in seven columns of differences
    expected = 0.5 + 2.0 * 1 / 7
    assert float(reconstruction_error(step, x, edge_weight=2.0)) == pytest.approx(expected)


@pytest.mark.parametrize("widths", [(8,), (8, 16), (8, 16, 8)])
def test_the_codec_reduces_by_two_per_width(widths):
    codec = ImageCodec(CodecConfig(latent_channels=4, widths=widths))
    latents = codec.encode(torch.rand(2, 3, 16, 24))
    assert latents.shape == (2, 4, 16 // codec.config.reduction, 24 // codec.config.reduction)
    assert codec.decode(latents).shape == (2, 3, 16, 24)


def test_a_size_that_the_codec_cannot_divide_is_refused(latent_model):
    with pytest.raises(UserError, match="size = 18 does not divide by 4"):
        ImageDiffusion(replace(latent_model.config, size=18), codec=latent_model.parts["codec"])
    with pytest.raises(UserError, match="at least one width"):
        CodecConfig(widths=())


def test_widths_must_fit_the_normalisation():
    with pytest.raises(UserError, match="multiple of 8"):
        CodecConfig(widths=(12,))


def test_a_frozen_encoder_that_is_a_module_is_no_part_of_the_model(tmp_path):
    class Encoder(torch.nn.Linear):
        def forward(self, texts):
            return TextStates(torch.ones(len(texts), 2, 16), torch.ones(len(texts), 2).bool(), torch.ones(1))

    network = TransformerConfig(channels=3, size=8, patch=4, dim=16, depth=1, head_dim=8, text_dim=16)
    config = ImageDiffusionConfig(network=network, size=8, text=TextConfig(name="minilm"))
    encoder = Encoder(2, 2).eval()
    model, without = ImageDiffusion(config, text_encoder=encoder), ImageDiffusion(config)
    assert model.text_encoder is encoder
    assert copy.deepcopy(model).text_encoder is encoder
    assert model.state_dict().keys() == without.state_dict().keys()
    assert len(list(model.parameters())) == len(list(without.parameters()))
    model.train()
    assert not encoder.training  # its mode is its own
    assert model.condition_on(["a bear"])["text"].shape == (1, 2, 16)


def test_a_copy_shares_the_frozen_parts_and_not_the_weights(latent_model):
    twin = copy.deepcopy(latent_model)
    assert twin.parts["codec"] is latent_model.parts["codec"]
    twin.denoiser.network.out.bias.data += 1
    assert not torch.equal(twin.denoiser.network.out.bias, latent_model.denoiser.network.out.bias)
    assert not any(name.startswith("codec") for name in latent_model.state_dict())


def test_token_ids_and_texts_mean_the_same(latent_model):
    ids = latent_model.learned_text.tokenize(["a polar bear"])
    x, sigma = torch.randn(1, 4, 4, 4), torch.ones(1)
    with torch.no_grad():
        by_ids = latent_model(x, sigma, {"text_ids": ids.ids, "text_valid": ids.valid})
        by_text = latent_model(x, sigma, latent_model.condition_on(["a polar bear"]))
    assert torch.allclose(by_ids, by_text, atol=1e-5)


def test_the_learned_encoder_gets_a_gradient(latent_model):
    ids = latent_model.learned_text.tokenize(["a polar bear"])
    out = latent_model(torch.randn(1, 4, 4, 4), torch.ones(1), {"text_ids": ids.ids, "text_valid": ids.valid})
    out.square().mean().backward()
    assert latent_model.learned_text.embed.weight.grad.abs().max() > 0


def test_encode_and_decode_speak_standardised_latents(latent_model):
    pixels = torch.rand(4, 3, 16, 16) * 2 - 1
    raw = latent_model.parts["codec"].encode(pixels)
    assert torch.allclose(latent_model.encode(pixels), (raw - 0.1) / 0.5, atol=1e-5)


@pytest.mark.parametrize(
    "fields", [{"classes": ("a",)}, {"sigma_min": 0.0}, {"sigma_max": 0.001}, {"sigma_data": float("nan")}]
)
def test_a_config_that_does_not_fit_is_refused(fields):
    with pytest.raises(UserError):
        ImageDiffusionConfig(network=TransformerConfig(), **fields)
