"""What a model is measured beside: real pictures, those it has learned, and what to ask it for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from melies.data.emoji import read_emoji
from melies.data.images import ImageSet, read_images
from melies.data.sets import held_split
from melies.data.splits import split_by_hash
from melies.errors import UserError
from melies.images.features import FeatureSpace
from melies.images.judge import Judge
from melies.images.model import ImageDiffusion
from melies.images.quality import Learned, Pictures
from melies.interfaces import PictureModel
from melies.metrics.neighbours import nearest
from melies.progress import Progress
from melies.rng import some_of

LEAST = 20
"""Fewer pictures than this measure nothing."""

MOST = 50_000
"""More pictures than this make no number surer, and are held in memory at once."""

PERHAPS_SEEN = "pictures that the model may have been trained on"
"""What a set without a part for testing is compared with."""


class Reference(NamedTuple):
    """The real pictures."""

    pictures: ImageSet
    """What drawn ones are compared with."""
    title: str
    """What these are to the model."""
    train: ImageSet | None = None
    """What it has learned, where that is known: where copies would come from."""
    unseen: ImageSet | None = None
    """What it has not, beside `train`."""


class Asked(NamedTuple):
    """Pictures to ask for, as real rows whose words or classes become the prompts."""

    rows: ImageSet
    prompts: list[str]
    classes: list[str]

    @property
    def titles(self) -> list[str]:
        """What the figures write beside each picture: its words or class, or its number."""
        return self.prompts or self.classes or [str(number) for number in range(len(self.rows))]


def reference_of_words(
    data: Path | None, model: ImageDiffusion, judge: Judge, *, count: int, seed: int, progress: Progress
) -> tuple[Reference, dict[str, Asked]]:
    """Pictures with texts for a model that reads them, and at most `count` prompts of each group.

    Raises:
        UserError: If the set is not found, or its pictures have no texts.
    """
    emoji = read_emoji(data, size=model.config.size, progress=progress)
    training = emoji.training()
    if training.texts is None:
        raise UserError(
            "the pictures have no texts to draw from",
            where=str(data),
            remedy="add a metadata.jsonl with `text`",
        )
    groups = {"seen": _words(_some(_unknown_to(judge.loaded.provenance, training), count, seed))}
    if not emoji.held_out.any():
        return Reference(training, PERHAPS_SEEN), groups
    groups["held-out"] = _words(_some(emoji.unseen(), count, seed))
    return Reference(training, "training pictures", training, emoji.unseen()), groups


def _unknown_to(provenance: Mapping[str, Any], pictures: ImageSet) -> ImageSet:
    """The pictures that a judge was not trained on, so that it is as sure of them as of drawn ones.

    All of them where it does not say, or where they would be too few to measure with: then they are
    somebody's own, which it does not know anyhow.
    """
    left_out = provenance.get("left_out")
    if left_out is None:
        return pictures
    unknown = split_by_hash(list(pictures.texts or ()), **left_out)
    return pictures.subset(unknown) if int(unknown.sum()) >= LEAST else pictures


def reference_of_classes(
    source: str | Path, model: PictureModel, *, count: int, seed: int, progress: Progress
) -> tuple[Reference, dict[str, Asked]]:
    """A set of pictures, and at most `count` classes to ask for, as they come in it.

    Of a set with a part that is not trained on, that part is compared with.

    Raises:
        UserError: If the classes of the set are not those of the model.
    """
    channels, size, _ = model.shape
    split = held_split(source)
    real = read_images(source, size=size, channels=channels, split=split, progress=progress)
    chosen = _some(real, count, seed)
    names = []
    if model.classes:
        if chosen.labels is None or not set(chosen.classes) <= set(model.classes):
            raise UserError("the classes of the pictures are not those of the model", where=str(source))
        names = [chosen.classes[label] for label in chosen.labels.tolist()]
    groups = {split or "seen": Asked(chosen, [], names)}
    if split is None:
        return Reference(real, PERHAPS_SEEN), groups
    train = read_images(source, size=size, channels=channels, split="train", progress=progress)
    return Reference(real, f"{split} pictures", train, real), groups


def learned_of(
    reference: Reference, space: FeatureSpace, real: Pictures, progress: Progress
) -> Learned | None:
    """Features of what the model has learned, and how far from them lies what it has not; None if unknown."""
    if reference.train is None or reference.unseen is None:
        return None

    def features(pictures: ImageSet) -> Tensor:
        known = pictures is reference.pictures
        return real.features if known else space(pictures.pixels, progress=progress)

    train = features(reference.train)
    return Learned(
        Pictures(reference.train.pixels, train), nearest(features(reference.unseen), train).distances[:, 0]
    )


def _words(rows: ImageSet) -> Asked:
    texts = rows.texts or ()
    styles = [str(row.get("style", "")) for row in rows.rows]
    prompts = [f"{text}, {style}" if style else text for text, style in zip(texts, styles, strict=True)]
    return Asked(rows, prompts, [])


def _some(pictures: ImageSet, count: int, seed: int) -> ImageSet:
    return pictures.subset(some_of(len(pictures), count, seed=seed, name="evaluate").sort().values)
