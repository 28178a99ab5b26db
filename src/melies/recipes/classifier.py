"""Classifiers that measure generated pictures: what the recipes of emoji and of class folders share."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from melies import checkpoint
from melies.config import check_range
from melies.data.balance import balanced_weights, index_stream
from melies.data.images import ImageSet
from melies.errors import UserError
from melies.images.augment import Augmentation, augment
from melies.images.classifier import (
    UNKNOWN,
    ClassifierConfig,
    ImageClassifier,
    classification_loss,
    classify,
    count_parameters,
    head_for,
    labels_of,
)
from melies.interfaces import Metric, Objective
from melies.machine import command_line, is_main_process
from melies.metrics.calibration import measure_calibration
from melies.metrics.measure import measure_share
from melies.recipes.job import Job
from melies.report.record import record_run, write_record
from melies.rng import seeded
from melies.training.loop import State, TrainingConfig, train
from melies.transform import PixelRange

MODULUS = 10
"""One row in this many is left out of the training of each classifier, where a set has no test part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureClassifierConfig:
    """The network, what it learns from, and its training."""

    name: str
    """What its numbers are named after."""
    prepared: str
    """The prepared set that it learns, when no other data is given."""
    heads: tuple[str, ...] = ("class",)
    """The questions: "tone", "class" or columns of the metadata."""
    stem: int = 2
    """Side of the squares of pixels that become one cell of the first stage."""
    widths: tuple[int, ...] = (16, 40, 72)
    """Channels of the stages."""
    feature_dim: int = 128
    """Length of the feature vector."""
    size: int = 64
    """Side of the pictures, in pixels."""
    channels: int = 3
    """Channels of a picture: 3 for colour, 1 for grey."""
    left_out: int = 1
    """Rows whose hash % 10 is this are not trained on, where a set has no test part of its own; 0 is that of
    the compositions held out of the emoji."""
    balance: float = 0.5
    """Power by which rare classes of the first question are lifted: 0 as they come, 1 all equal."""
    smoothing: float = 0.1
    """Share of the label spread over all classes."""
    augmentation: Augmentation = Augmentation()
    """How the pictures are changed."""
    training: TrainingConfig
    """The run."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("left_out", self.left_out, low=1, high=MODULUS - 1)
        check_range("balance", self.balance, low=0, high=1)
        check_range("smoothing", self.smoothing, low=0, high=0.9)
        if not self.heads:
            raise UserError("a classifier needs heads", where="heads")


def train_classifier(
    config: PictureClassifierConfig,
    job: Job,
    pictures: ImageSet,
    unseen: Mapping[str, ImageSet],
    **facts: Any,
) -> State:
    """Train a classifier, and say how often it is right on pictures that it was not shown.

    Args:
        config: What to train.
        job: Where to.
        pictures: All that it is shown.
        unseen: Title → pictures that it is measured on, see `accuracies`; their numbers go into
            `record.json` in the run folder.
        facts: What else the checkpoint should say of where it comes from.

    Raises:
        UserError: If there is nothing to train on, a question has no answer in the data, or the model to
            start from does not fit.
    """
    if not len(pictures):
        raise UserError(
            "no picture is left to train on: all of them are held out or left out",
            where=str(job.data or config.prepared),
            remedy="add pictures, or choose another --left-out",
        )
    with seeded(config.training.seed, "weights"):
        model = _build(config, pictures, job.start_from)
    job.say(f"{len(pictures)} training pictures, {count_parameters(model):,} parameters")
    state = train(
        model,
        [Objective("classifier", lambda m: m.parameters(), classifier_loss(config))],
        labelled_batches(config, pictures, model.config),
        config.training,
        out=job.out,
        resume=job.resume,
        provenance=job.provenance(config.name, num_pictures=len(pictures), **facts),
        progress=job.progress,
    )
    if not is_main_process():
        return state
    metrics = [
        metric
        for title, rows in unseen.items()
        for metric in accuracies(state.ema.model, rows, title)  # type: ignore[arg-type]
    ]
    for metric in metrics:
        low, high = metric.interval
        job.say(f"{metric.name}: {metric.value:.3f} [{low:.3f}, {high:.3f}] of {metric.num_samples}")
    record = record_run(
        config.name,
        metrics,
        data={"training": len(pictures), **{title: len(rows) for title, rows in unseen.items()}},
        command=command_line(sys.argv),
        duration_s=state.seconds,
        notes={"config": config, "samples_seen": state.samples_seen},
    )
    write_record(job.out / "record.json", record)
    return state


def labelled_batches(config: PictureClassifierConfig, pictures: ImageSet, model: ClassifierConfig):
    """Pictures with their labels by position; rare groups (by the first head) are lifted."""
    labels = {head.name: labels_of(head, pictures) for head in model.heads}
    weights = balanced_weights(labels[model.heads[0].name].tolist(), config.balance)
    stream = index_stream(weights, seed=config.training.seed)

    def batches(start: int, size: int) -> dict[str, Tensor]:
        chosen = stream(start, size)
        named = {f"label.{name}": values[chosen] for name, values in labels.items()}
        return {"pixels": PixelRange().forward(pictures.pixels[chosen]), **named}

    return batches


def classifier_loss(config: PictureClassifierConfig):
    """Cross-entropy of every head on augmented pictures."""

    def loss_fn(model: nn.Module, batch: dict[str, Tensor], rng: torch.Generator):
        logits = model(augment(batch["pixels"], rng, config.augmentation))
        labels = {name: batch[f"label.{name}"] for name in logits}
        loss, right = classification_loss(logits, labels, smoothing=config.smoothing)
        return loss, {f"accuracy.{name}": value for name, value in right.items()}

    return loss_fn


def accuracies(model: ImageClassifier, pictures: ImageSet, title: str) -> tuple[Metric, ...]:
    """Share of right answers on real pictures, then calibration error, of each head that has labels there."""
    if not len(pictures):
        return ()
    verdict = classify(model, pictures.pixels)
    shares, errors = [], []
    for head in model.config.heads:
        labels = labels_of(head, pictures)
        known = labels != UNKNOWN
        if bool(known.any()):
            confidence, predicted = verdict.probability[head.name][known].max(1)
            right = predicted == labels[known]
            shares.append(measure_share(f"{head.name}, real {title}", right))
            errors.append(
                measure_calibration(f"{head.name}, calibration error, real {title}", confidence, right)
            )
    return (*shares, *errors)


def _build(config: PictureClassifierConfig, pictures: ImageSet, start_from: str | None) -> ImageClassifier:
    if start_from is not None:
        model = checkpoint.load(start_from).model
        if not isinstance(model, ImageClassifier):
            raise UserError(
                "not a classifier of pictures", where=start_from, remedy="leave --from out, or name one"
            )
        if model.config.channels != pictures.pixels.shape[1]:
            raise UserError(
                f"a classifier of pictures in {model.config.channels} channels, and these have"
                f" {pictures.pixels.shape[1]}",
                where=start_from,
                remedy="take a recipe for such pictures, or leave --from out",
            )
        if all(bool((labels_of(head, pictures) == UNKNOWN).all()) for head in model.config.heads):
            raise UserError(
                "the pictures answer none of its questions",
                where=start_from,
                remedy=f"it asks for {', '.join(head.name for head in model.config.heads)}",
            )
        return model.train()
    return ImageClassifier(
        ClassifierConfig(
            heads=tuple(head_for(name, pictures) for name in config.heads),
            size=config.size,
            channels=pictures.pixels.shape[1],
            stem=config.stem,
            widths=config.widths,
            feature_dim=config.feature_dim,
        )
    )
