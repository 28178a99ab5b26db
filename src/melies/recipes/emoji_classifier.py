"""Two classifiers of emoji, to measure generated ones with: a judge, and features to compare by.

    melies train emoji-judge --data emoji64.zip --out runs/emoji-judge
    melies train emoji-features --data emoji64.zip --out runs/emoji-features

They name the sub-category, the skin tone and the drawing style. They differ in shape and seed and
leave out different pictures, so that a distance between the features of one says nothing about
the verdicts of the other. Neither sees the compositions held out of the emoji model, nor a tenth
of the other texts; `record.json` in the run folder has their accuracy on both, which for the held-out
compositions is about 0.93 for the sub-category and 0.96 for the tone. On one processor core each sees
some 500 pictures a second and is done in ten minutes.
"""

import sys
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from melies import checkpoint
from melies.config import check_range
from melies.data.balance import balanced_weights, index_stream
from melies.data.emoji import read_emoji
from melies.data.images import ImageSet
from melies.data.splits import split_by_hash
from melies.errors import UserError
from melies.images.classifier import (
    UNKNOWN,
    ClassifierConfig,
    ImageClassifier,
    augment,
    classification_loss,
    classify,
    count_parameters,
    head_for,
    labels_of,
)
from melies.interfaces import Metric, Objective
from melies.machine import command_line
from melies.metrics.measure import measure_share
from melies.recipes.job import Job
from melies.report.record import record_run, write_record
from melies.rng import seeded
from melies.training.loop import State, TrainingConfig, train
from melies.transform import PixelRange

MODULUS = 10
"""One text in this many is left out of the training of each classifier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmojiClassifierConfig:
    """The network, what it learns from, and its training."""

    name: str = "emoji-judge"
    """What its numbers are named after."""
    heads: tuple[str, ...] = ("subcategory", "tone", "style")
    """The questions: "tone", "class" or columns of the metadata."""
    stem: int = 2
    """Side of the squares of pixels that become one cell of the first stage."""
    widths: tuple[int, ...] = (16, 40, 72)
    """Channels of the stages."""
    feature_dim: int = 128
    """Length of the feature vector."""
    size: int = 64
    """Side of the pictures, in pixels."""
    left_out: int = 1
    """Texts with crc32(text) % 10 of this value are not trained on; held-out compositions have 0."""
    balance: float = 0.5
    """Power by which rare sub-categories are lifted: 0 as they come, 1 all equal."""
    smoothing: float = 0.1
    """Share of the label spread over all classes."""
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            num_samples=256_000,
            batch_size=64,
            learning_rate=2e-3,
            warmup=6_400,
            betas=(0.9, 0.98),
            weight_decay=0.02,
            ema_half_life=5_000,
            preview_every=0,
            checkpoint_every_s=60,
        )
    )
    """The run."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("left_out", self.left_out, low=1, high=MODULUS - 1)
        check_range("balance", self.balance, low=0, high=1)
        check_range("smoothing", self.smoothing, low=0, high=0.9)
        if not self.heads:
            raise UserError("a classifier needs heads", where="heads")


JUDGE = EmojiClassifierConfig()
FEATURES = EmojiClassifierConfig(
    name="emoji-features",
    stem=4,
    widths=(32, 56, 64),
    left_out=2,
    training=replace(JUDGE.training, seed=1),
)
CONFIG = JUDGE


def run(
    config: EmojiClassifierConfig,
    job: Job,
) -> State:
    """Train a classifier on the pictures of `data`, and say how often it is right on those left out.

    Raises:
        UserError: If a question has no answer in the data, or the model to start from does not fit.
    """
    emoji = read_emoji(job.data, size=config.size, progress=job.progress)
    left_out = split_by_hash(
        [str(row.get("text", "")) for row in emoji.pictures.rows], modulus=MODULUS, remainder=config.left_out
    )
    pictures = emoji.pictures.subset(~(emoji.held_out | left_out))
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
        provenance=job.provenance(
            config.name,
            num_pictures=len(pictures),
            left_out={"modulus": MODULUS, "remainder": config.left_out},
        ),
        progress=job.progress,
    )
    metrics, data_used = [], {"training": len(pictures)}
    for title, mask in (
        ("held-out compositions", emoji.held_out),
        ("other texts", left_out & ~emoji.held_out),
    ):
        metrics += accuracies(state.ema.model, emoji.pictures.subset(mask), title)  # type: ignore[arg-type]
        data_used[title] = int(mask.sum())
    for metric in metrics:
        low, high = metric.interval
        job.say(f"{metric.name}: {metric.value:.3f} [{low:.3f}, {high:.3f}] of {metric.num_samples}")
    record = record_run(
        config.name,
        metrics,
        data=data_used,
        command=command_line(sys.argv),
        duration_s=state.seconds,
        notes={"config": config, "samples_seen": state.samples_seen},
    )
    write_record(job.out / "record.json", record)
    return state


def _build(config: EmojiClassifierConfig, pictures: ImageSet, start_from: str | None) -> ImageClassifier:
    if start_from is not None:
        model = checkpoint.load(start_from).model
        if not isinstance(model, ImageClassifier):
            raise UserError("not a classifier of pictures", where=start_from)
        if model.config.channels != pictures.pixels.shape[1]:
            raise UserError(
                f"a classifier of pictures in {model.config.channels} channels, and these have"
                f" {pictures.pixels.shape[1]}",
                where=start_from,
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


def labelled_batches(config: EmojiClassifierConfig, pictures: ImageSet, model: ClassifierConfig):
    """Pictures with their labels by position; rare groups (by the first head) are lifted."""
    labels = {head.name: labels_of(head, pictures) for head in model.heads}
    weights = balanced_weights(labels[model.heads[0].name].tolist(), config.balance)
    stream = index_stream(weights, seed=config.training.seed)

    def batches(start: int, size: int) -> dict[str, Tensor]:
        chosen = stream(start, size)
        named = {f"label.{name}": values[chosen] for name, values in labels.items()}
        return {"pixels": PixelRange().forward(pictures.pixels[chosen]), **named}

    return batches


def classifier_loss(config: EmojiClassifierConfig):
    """Cross-entropy of every head on augmented pictures."""

    def loss_fn(model: nn.Module, batch: dict[str, Tensor], rng: torch.Generator):
        logits = model(augment(batch["pixels"], rng))
        labels = {name: batch[f"label.{name}"] for name in logits}
        loss, right = classification_loss(logits, labels, smoothing=config.smoothing)
        return loss, {f"accuracy.{name}": value for name, value in right.items()}

    return loss_fn


def accuracies(model: ImageClassifier, pictures: ImageSet, title: str) -> tuple[Metric, ...]:
    """Share of right answers on real pictures, one metric per head that has labels there."""
    if not len(pictures):
        return ()
    predicted = classify(model, pictures.pixels).predicted
    found = []
    for head in model.config.heads:
        labels = labels_of(head, pictures)
        known = labels != UNKNOWN
        if bool(known.any()):
            found.append(measure_share(f"{head.name}, real {title}", (predicted[head.name] == labels)[known]))
    return tuple(found)
