"""CelebA: faces at 64×64 by a VAE (Liu et al. 2015, "Deep learning face attributes in the wild").

    melies train celeba --data MY-CELEBA --out runs/celeba
    melies train celeba --data MY-CELEBA --conditional --attribute Male --out runs/celeba-male
    melies reconstruct --model runs/celeba FACE.jpg

The pictures are yours to bring, as they are distributed: `img_align_celeba/`, `list_attr_celeba.txt` and
`list_eval_partition.txt`, in a folder or a zip; the tables of Kaggle's copy, `.csv`, do as well. Its training
part is learned, of which 2 GB are kept in memory; with --conditional also one of the forty attributes, as two
classes. Two processor cores need hours for the default run, and a GPU minutes.
"""

from dataclasses import dataclass, replace

from melies.autoencoders.network import HalvesConfig
from melies.autoencoders.vae import VAEConfig
from melies.data.celeba import read_celeba
from melies.errors import UserError
from melies.recipes import vae
from melies.recipes.job import Job
from melies.training.loop import State, TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class CelebAConfig(vae.VAERunConfig):
    """A VAE of faces."""

    attribute: str = "Smiling"
    """Which of the forty attributes is the class, as the table of attributes spells it."""


CONFIG = CelebAConfig(
    model=VAEConfig(
        network=HalvesConfig(
            size=64, channels=3, latent_dim=128, widths=(32, 64, 128, 128), decoder_blocks=1, hidden=512
        )
    ),
    flip=True,
    training=TrainingConfig(
        num_samples=2_000_000,
        batch_size=128,
        learning_rate=1e-3,
        warmup=12_800,
        ema_half_life=20_000,
        log_every=6_400,
        preview_every=100_000,
    ),
)


def run(config: CelebAConfig, job: Job) -> State:
    """Train on the training part of CelebA, as it lies in the folder or zip that is given.

    Raises:
        UserError: If nothing is given, the pictures or their tables are not there, or as `vae.run` does.
    """
    size = config.model.network.size
    pictures = read_celeba(
        job.brought("CelebA"), size=size, attribute=config.attribute, progress=job.progress
    )
    if config.conditional and pictures.labels is not None and len(pictures.labels.unique()) < 2:
        raise UserError(
            f"all pictures have the same {config.attribute!r}",
            where=str(job.data),
            remedy="take another --attribute, or leave out --conditional",
        )
    return vae.run(config, replace(job, pictures=pictures))
