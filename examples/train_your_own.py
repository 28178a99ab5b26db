"""Train a diffusion model of one's own on a picture of a ring of points, in a few seconds.

The loop, its checkpoints and its log are those of the recipes: `python examples/train_your_own.py runs/ring`.
"""

import sys
from pathlib import Path

import torch

from melies.diffusion.loss import denoising_loss, edm, log_normal
from melies.images.model import ImageDiffusion, ImageDiffusionConfig
from melies.interfaces import Objective
from melies.nn.transformer import TransformerConfig
from melies.rng import generator_for
from melies.training.log import read_log
from melies.training.loop import TrainingConfig, train


def batches(start: int, size: int) -> dict[str, torch.Tensor]:
    """8×8 pictures of one bright pixel on a ring, sample by sample a function of its position."""
    pixels = torch.full((size, 1, 8, 8), -1.0)
    for i in range(size):
        angle = 6.2832 * float(torch.rand((), generator=generator_for(0, start + i)))
        x, y = torch.tensor([3.5 + 3 * torch.tensor(angle).cos(), 3.5 + 3 * torch.tensor(angle).sin()])
        pixels[i, 0, round(float(y)), round(float(x))] = 1.0
    return {"x0": pixels}


def loss_fn(model, batch, rng):
    """EDM's loss, without any condition."""
    x0 = batch["x0"]
    sigma = log_normal(len(x0), rng)
    epsilon = torch.randn(x0.shape, generator=rng)
    weight = edm(sigma, sigma_data=0.5)
    return denoising_loss(model, x0, {}, sigma=sigma, epsilon=epsilon, weight=weight).mean(), {}


def main(folder: str = "runs/ring", num_samples: int = 25_600) -> list[float]:
    """The losses that the log tells."""
    network = TransformerConfig(channels=1, size=8, patch=2, dim=64, depth=2, head_dim=32)
    model = ImageDiffusion(ImageDiffusionConfig(network=network, size=8, channels=1, sigma_data=0.5))
    config = TrainingConfig(num_samples=num_samples, batch_size=64, log_every=640, preview_every=0)
    objective = Objective("denoiser", lambda m: m.parameters(), loss_fn)
    train(model, [objective], batches, config, out=Path(folder), resume=Path(folder).exists())
    return [row["loss"] for row in read_log(Path(folder) / "log.jsonl")]


if __name__ == "__main__":
    print(*main(*sys.argv[1:2]), sep="\n")
