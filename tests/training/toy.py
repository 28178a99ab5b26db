"""A tiny run of the real loop, used by the tests and as a program by the test that kills it."""

import sys
from pathlib import Path

import torch

from melies.images.codec import CodecConfig, ImageCodec, kl_divergence
from melies.interfaces import Objective
from melies.rng import generator_for
from melies.training.loop import State, TrainingConfig, train

CODEC = CodecConfig(latent_channels=2, widths=(8, 8), encoder_blocks=1, decoder_blocks=1)


def config(**options) -> TrainingConfig:
    """Sixteen samples a step, a checkpoint after every step."""
    return TrainingConfig(
        **{
            "num_samples": 160,
            "batch_size": 16,
            "warmup": 16,
            "precision": "fp32",
            "log_every": 16,
            "preview_every": 0,
            "checkpoint_every_s": 1e-9,
            "ema_half_life": 50,
            **options,
        }
    )


def batches(start: int, size: int) -> torch.Tensor:
    """Pictures that depend on their position only."""
    return torch.stack(
        [torch.rand(3, 8, 8, generator=generator_for(0, i)) for i in range(start, start + size)]
    )


def loss_fn(model, batch, rng):
    """A small VAE."""
    epsilon = torch.randn(len(batch), 2, 2, 2, generator=rng)
    rebuilt, mean, logvar = model(batch, epsilon)
    return (rebuilt - batch).square().mean() + 1e-4 * kl_divergence(mean, logvar).mean(), {}


def calm_loss_fn(model, batch, rng):
    """The same without noise, so that it does not matter how a batch is shared out."""
    rebuilt, _, _ = model(batch, torch.zeros(len(batch), 2, 2, 2))
    return (rebuilt - batch).square().mean(), {}


def run(out: Path, *, resume: bool = False, loss=loss_fn, data=batches, stop=None, **options) -> State:
    """Train the toy codec."""
    torch.manual_seed(0)
    objective = Objective("codec", lambda m: m.parameters(), loss)
    return train(ImageCodec(CODEC), [objective], data, config(**options), out=out, resume=resume, stop=stop)


def run_halves(out: Path, **options) -> State:
    """Train the halves of the toy codec by an objective each, without noise."""
    torch.manual_seed(0)
    objectives = [
        Objective("encoder", lambda m: m.encoder.parameters(), calm_loss_fn),
        Objective("decoder", lambda m: m.decoder.parameters(), calm_loss_fn),
    ]
    return train(ImageCodec(CODEC), objectives, batches, config(**options), out=out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    out, num_samples, name = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if name == "halves":
        run_halves(out, num_samples=num_samples)
    else:
        chosen = {"loss_fn": loss_fn, "calm_loss_fn": calm_loss_fn}[name]
        run(out, resume=out.exists(), num_samples=num_samples, loss=chosen)
