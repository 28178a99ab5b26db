"""Small untrained models that draw in milliseconds; what they draw is noise, and always the same noise."""

from pathlib import Path

import pytest
import torch

from melies import checkpoint
from melies.images.codec import CodecConfig, ImageCodec
from melies.images.model import ImageDiffusion, ImageDiffusionConfig
from melies.nn.transformer import TransformerConfig
from melies.nn.unet import UNetConfig
from melies.text.config import TextConfig
from melies.text.learned import build_vocabulary
from melies.transform import Standardize

CAPTIONS = ("a mechanic, dark skin tone", "a polar bear", "a red apple")


def shake(model: torch.nn.Module) -> None:
    """Random weights everywhere: fresh networks are zero at the output and would hide a mistake."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)


@pytest.fixture
def latent_model() -> ImageDiffusion:
    """Words to 16×16 pictures through a codec, with a text encoder that lives in the checkpoint."""
    codec = ImageCodec(CodecConfig(latent_channels=4, widths=(8, 16), decoder_blocks=1))
    text = TextConfig(
        name="learned", vocabulary=build_vocabulary(CAPTIONS), dim=16, max_tokens=12, num_heads=2
    )
    network = TransformerConfig(channels=4, size=4, dim=32, depth=2, head_dim=16, text_dim=16)
    model = ImageDiffusion(
        ImageDiffusionConfig(network=network, size=16, text=text),
        codec=codec,
        transforms={"latent": Standardize(mean=(0.1,) * 4, std=(0.5,) * 4)},
    )
    shake(model)
    return model.eval()


@pytest.fixture
def pixel_model() -> ImageDiffusion:
    """Three classes to grey 8×8 pictures, in pixels."""
    network = UNetConfig(
        channels=1, size=8, widths=(32, 32), blocks=1, attention=(4,), head_dim=16, dim=32, num_classes=3
    )
    config = ImageDiffusionConfig(
        network=network, size=8, channels=1, sigma_data=0.5, classes=("bag", "coat", "shirt")
    )
    model = ImageDiffusion(config)
    shake(model)
    return model.eval()


@pytest.fixture
def plain_model() -> ImageDiffusion:
    """Grey 8×8 pictures in pixels, asked for by neither words nor classes."""
    network = TransformerConfig(channels=1, size=8, patch=4, dim=16, depth=1, head_dim=8)
    model = ImageDiffusion(ImageDiffusionConfig(network=network, size=8, channels=1, sigma_data=0.5))
    shake(model)
    return model.eval()


@pytest.fixture
def latent_folder(latent_model: ImageDiffusion, tmp_path: Path) -> Path:
    """The words model on disk."""
    return checkpoint.save(tmp_path / "words", latent_model, ema=latent_model.state_dict())
