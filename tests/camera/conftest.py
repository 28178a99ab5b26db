"""Small models of camera paths, and films."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from melies.camera.director import DirectorConfig
from melies.camera.model import CameraDiffusion, CameraDiffusionConfig
from melies.text.config import TextConfig
from melies.text.learned import build_vocabulary

TEXT = TextConfig(
    name="learned",
    vocabulary=build_vocabulary(["the camera trucks right", "the camera booms left"]),
    dim=16,
    num_layers=1,
    num_heads=2,
)
DESIGNS = ("in-context", "modulated", "cross-attention")


def small(design: str, **changes) -> DirectorConfig:
    """A network of a few thousand weights."""
    return DirectorConfig(
        **{
            "design": design,
            "frames": 40,
            "patch": 4,
            "dim": 32,
            "depth": 2,
            "head_dim": 16,
            "dropout": 0.0,
            "skipped": 0.0,
            "text_dim": 16,
            "registers": 2,
            "encoder_depth": 1,
            **changes,
        }
    )


@pytest.fixture(params=DESIGNS)
def director(request) -> CameraDiffusion:
    """One model of each design, its weights no longer those of the start, where it says nothing."""
    torch.manual_seed(0)
    model = CameraDiffusion(CameraDiffusionConfig(network=small(request.param), text=TEXT)).eval()
    for parameter in model.denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return model


def write_film(path, lengths, seed=0):
    """Shots of still noise, each of another colour."""
    import av

    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 96, 64, "yuv420p", 2_000_000
        number = 0
        for length in lengths:
            colour, grain = rng.uniform(30, 220, 3), rng.normal(0, 25, (16, 24, 3))
            picture = np.kron(np.clip(colour + grain, 0, 255).astype(np.uint8), np.ones((4, 4, 1), np.uint8))
            for _ in range(length):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(stream.encode(frame))
                number += 1
        container.mux(stream.encode())
    return path
