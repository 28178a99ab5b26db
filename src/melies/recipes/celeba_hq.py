"""CelebA-HQ: faces by diffusion in pixels, at 64×64 (Karras et al. 2018, "Progressive growing of GANs").

    melies train celeba-hq --data MY-CELEBA-HQ --out runs/celeba-hq
    melies generate --model runs/celeba-hq --class female --count 8 --scale 2

The pictures are yours to bring: a folder or zip with `female/` and `male/`, which become classes, or all of
them side by side, which are learned without classes. A UNet of 3.9 million weights; two processor cores need
days for it, and a GPU some hours.
"""

from dataclasses import replace

from melies.nn.unet import UNetConfig
from melies.recipes.job import Job
from melies.recipes.pixels import PixelDiffusionConfig, train_pixels
from melies.training.loop import State, TrainingConfig

CONFIG = PixelDiffusionConfig(
    network=UNetConfig(channels=3, size=64, widths=(32, 64, 96, 128), attention=(8,), head_dim=32, dim=128),
    flip=True,
    needs_classes=False,
    training=TrainingConfig(
        num_samples=3_000_000,
        batch_size=64,
        learning_rate=5e-4,
        warmup=25_600,
        decay="linear",
        hold=0.7,
        weight_decay=0.01,
        ema_half_life=50_000,
        log_every=6_400,
        preview_every=100_000,
    ),
)


def run(config: PixelDiffusionConfig, job: Job) -> State:
    """Train on CelebA-HQ as it lies in the folder or zip that is given."""
    return train_pixels("celeba-hq", config, replace(job, data=job.brought("CelebA-HQ")))
