"""Diffusion of small pictures with classes, in pixels: what the CIFAR-10 and Fashion-MNIST recipes share."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from melies import checkpoint
from melies.config import check_positive, check_range
from melies.data.batches import picture_batches
from melies.diffusion.loss import denoising_loss, drop_condition, edm, log_normal
from melies.errors import UserError
from melies.images.inversion import DiffusionPictures
from melies.images.model import ImageDiffusion, ImageDiffusionConfig
from melies.interfaces import Objective
from melies.nn.unet import UNetConfig
from melies.recipes.job import Job
from melies.recipes.preview import write_drawn
from melies.rng import noise_for, seeded
from melies.training.loop import State, TrainingConfig, train

PREVIEW_ROWS = 4
"""Pictures of each class in a preview."""
PREVIEW_COLUMNS = 8
"""Pictures in a row of a preview without classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelDiffusionConfig:
    """The denoiser, what it is told, and its training."""

    network: UNetConfig
    """The denoising network: its size and channels are those of the pictures, and the classes come
    from the data."""
    sigma_data: float = 0.5
    """Standard deviation of the pixels, on the scale of −1 to 1."""
    flip: bool = False
    """Whether half of the pictures are shown mirrored."""
    needs_classes: bool = True
    """Whether pictures without classes are refused; otherwise classes are learned where there are any."""
    drop: float = 0.1
    """Share of pictures trained without their class, for classifier-free guidance."""
    P_mean: float = -1.2
    """Mean of log σ while training."""
    P_std: float = 1.2
    """Standard deviation of log σ while training."""
    training: TrainingConfig
    """The run."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_positive("sigma_data", self.sigma_data)
        check_positive("P_std", self.P_std)
        check_range("P_mean", self.P_mean)
        check_range("drop", self.drop, low=0, high=1)


def train_pixels(
    name: str,
    config: PixelDiffusionConfig,
    job: Job,
) -> State:
    """Train on the pictures of `data`, or of the prepared set called `name`; folders are classes.

    Raises:
        UserError: If the pictures have not the classes that are needed, or not those of the model to start
            from.
    """
    size, channels = config.network.size, config.network.channels
    pictures = job.read(name, size=size, channels=channels, classes=config.needs_classes)
    with seeded(config.training.seed, "weights"):
        model = _build(config, pictures.classes, job.start_from)
    count = sum(p.numel() for p in model.parameters())
    job.say(f"{len(pictures)} pictures of {len(pictures.classes)} classes, {count:,} weights")
    return train(
        model,
        [Objective("denoiser", lambda m: m.parameters(), denoiser_loss(config))],
        picture_batches(pictures, seed=config.training.seed, flip=config.flip),
        config.training,
        out=job.out,
        resume=job.resume,
        provenance=job.provenance(name, num_pictures=len(pictures)),
        preview=_preview,
        progress=job.progress,
    )


def _build(config: PixelDiffusionConfig, classes: tuple[str, ...], start_from: str | None) -> ImageDiffusion:
    if start_from is None:
        return ImageDiffusion(
            ImageDiffusionConfig(
                network=replace(config.network, num_classes=len(classes)),
                size=config.network.size,
                channels=config.network.channels,
                sigma_data=config.sigma_data,
                sigma_min=0.002,  # half a step of 8-bit pixels
                classes=classes,
            )
        )
    model = checkpoint.load(start_from).model
    if not isinstance(model, ImageDiffusion) or model.parts or model.config.text is not None:
        raise UserError("not a model of pixels that knows at most classes", where=start_from)
    if model.config.classes != classes:
        ours, theirs = (", ".join(names) or "(none)" for names in (model.config.classes, classes))
        raise UserError(
            f"the model knows the classes {ours}, the data {theirs}",
            where=start_from,
            remedy="name the folders as the model does",
        )
    if model.shape != (config.network.channels, config.network.size, config.network.size):
        raise UserError(
            f"the model draws {model.config.size} px in {model.config.channels} channels, the recipe"
            f" {config.network.size} px in {config.network.channels}",
            where=start_from,
        )
    return model.train()


def denoiser_loss(config: PixelDiffusionConfig):
    """EDM's loss (Karras et al. 2022, Table 1), the class dropped now and then."""

    def loss_fn(model: nn.Module, batch: dict[str, Tensor], rng: torch.Generator):
        x0 = batch["pixels"]
        known = {"class": batch["class"]} if "class" in batch else {}
        condition = drop_condition(known, tuple(known), rng, joint=config.drop) if known else {}
        sigma = log_normal(len(x0), rng, P_mean=config.P_mean, P_std=config.P_std).to(x0)
        epsilon = torch.randn(x0.shape, generator=rng).to(x0)
        weight = edm(sigma, sigma_data=config.sigma_data)
        loss = denoising_loss(model, x0, condition, sigma=sigma, epsilon=epsilon, weight=weight)
        return loss.mean(), {}

    return loss_fn


def _preview(model: nn.Module, folder: Path, samples_seen: int) -> None:
    if not isinstance(model, ImageDiffusion):
        raise TypeError(f"expected the model that is trained, got {type(model).__name__}")
    classes = model.config.classes
    columns = len(classes) or PREVIEW_COLUMNS
    pictures, drawn = DiffusionPictures(model, scale=2.0, num_steps=16), []
    for row in range(PREVIEW_ROWS):
        labels = torch.arange(columns) if classes else None
        seeds = [row] * columns if classes else range(row * columns, (row + 1) * columns)
        drawn.append(pictures.sample(columns, noise=noise_for(seeds), labels=labels).cpu())
    write_drawn(folder, samples_seen, torch.cat(drawn), columns=columns, classes=classes)
