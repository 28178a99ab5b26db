"""ImageNet: pictures of 64×64 to 16×16 codes by a VQ-VAE (Russakovsky et al. 2015).

    melies train imagenet --data MY-IMAGENET --out runs/imagenet
    melies reconstruct --model runs/imagenet PICTURE.jpg

The pictures are yours to bring, as they are unpacked: `train/n01440764/*.JPEG`, a folder per class, at
whatever depth of a folder or zip. So many are read, spread evenly over the classes, as `--limit` says: they
are kept in memory, 12 kB each. Two processor cores need days for the default run, and a GPU hours.
"""

from dataclasses import dataclass, replace

from melies.autoencoders.quantize import CodebookConfig
from melies.autoencoders.vqvae import VQVAEConfig
from melies.config import check_positive
from melies.data.imagenet import read_imagenet
from melies.recipes import vqvae
from melies.recipes.job import Job
from melies.training.loop import State, TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageNetConfig(vqvae.VQVAERunConfig):
    """A VQ-VAE of ImageNet."""

    limit: int = 200_000
    """Pictures that are read at most."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        vqvae.VQVAERunConfig.__post_init__(self)
        check_positive("limit", self.limit)


CONFIG = ImageNetConfig(
    model=VQVAEConfig(size=64, channels=3, widths=(64, 128), quantizer=CodebookConfig(num_codes=512, dim=32)),
    flip=True,
    training=TrainingConfig(
        num_samples=2_000_000,
        batch_size=64,
        learning_rate=1e-3,
        warmup=6_400,
        weight_decay=0.0,
        ema_half_life=20_000,
        log_every=6_400,
        preview_every=100_000,
    ),
)


def run(config: ImageNetConfig, job: Job) -> State:
    """Train on the training part of ImageNet, as it lies in the folder or zip that is given.

    Raises:
        UserError: If nothing is given, there are no such folders, or as `vqvae.run` does.
    """
    pictures = read_imagenet(
        job.brought("ImageNet"), size=config.model.size, limit=config.limit, progress=job.progress
    )
    return vqvae.run(config, replace(job, pictures=pictures))
