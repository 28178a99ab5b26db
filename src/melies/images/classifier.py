"""A small classifier of pictures with several named heads, to measure generated pictures with."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from melies.config import check_positive, check_range, from_json
from melies.data.emoji import TONES, skin_tone
from melies.data.images import ImageSet
from melies.errors import UserError
from melies.nn.residual import Residual
from melies.transform import PixelRange, Transform

UNKNOWN = -1
"""The label of a picture that a head has nothing to say about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One question put to a picture."""

    name: str
    """"tone" is read off the words of a text, "class" is the set's own label, and any other name
    is a metadata column."""
    classes: tuple[str, ...]
    """The possible answers, in the order of the logits."""

    def __post_init__(self) -> None:
        """Check that the answers differ, and that the name can be that of a layer."""
        if not self.name or "." in self.name or hasattr(nn.ModuleDict(), self.name):
            raise UserError(f"a head cannot be called {self.name!r}", remedy="give the column another name")
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise UserError(f"head {self.name!r} needs classes, each of them once")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierConfig:
    """Shape of a classifier."""

    heads: tuple[Head, ...]
    """The questions."""
    size: int = 64
    """Side of the pictures it was trained on, in pixels; others are resized to it."""
    channels: int = 3
    """Channels of a picture: 1 or 3."""
    stem: int = 4
    """Side of the squares of pixels that become one cell of the first stage."""
    widths: tuple[int, ...] = (40, 64, 64)
    """Channels of the stages; each stage halves the size of the one before."""
    feature_dim: int = 128
    """Length of the feature vector."""

    def __post_init__(self) -> None:
        """Check the ranges, and that the names of the heads differ."""
        for name in ("size", "channels", "stem", "feature_dim"):
            check_positive(name, getattr(self, name))
        for width in self.widths:
            check_range("widths", width, low=8)
            if width % 8:
                raise UserError(f"width {width} is not a multiple of 8", where="ClassifierConfig.widths")
        if not self.widths or self.size % self.stem:
            raise UserError(f"size = {self.size} does not divide by stem = {self.stem}, or no widths")
        if not self.heads or len({head.name for head in self.heads}) < len(self.heads):
            raise UserError("a classifier needs heads, each name once")


class ImageClassifier(nn.Module):
    """A residual network over shrinking stages, pooled to one feature vector, and a linear map per head."""

    kind = "image-classifier"

    def __init__(self, config: ClassifierConfig, transforms: Mapping[str, Transform] | None = None) -> None:
        super().__init__()
        self.config = config
        self.transforms: dict[str, Transform] = dict(transforms or {})
        self.parts: dict[str, nn.Module] = {}
        widths = config.widths
        first = nn.Conv2d(config.channels * config.stem**2, widths[0], 3, padding=1)
        layers: list[nn.Module] = [nn.PixelUnshuffle(config.stem), first, Residual(widths[0])]
        for before, width in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), Residual(width)]
        self.trunk = nn.Sequential(*layers, nn.GroupNorm(8, widths[-1]), nn.SiLU())
        # The mean says how much there is of something, the maximum whether it is there at all.
        self.pooled = nn.Linear(2 * widths[-1], config.feature_dim)
        self.heads = nn.ModuleDict(
            {head.name: nn.Linear(config.feature_dim, len(head.classes)) for head in config.heads}
        )

    def features(self, pixels: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """The vector that all heads read, of pictures in [−1, 1]."""
        size = self.config.size
        if pixels.shape[1] != self.config.channels:
            raise ValueError(f"{pixels.shape[1]} channels for a classifier of {self.config.channels}")
        if pixels.shape[2:] != (size, size):
            pixels = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
        cells = self.trunk(pixels)
        return self.pooled(torch.cat([cells.mean((2, 3)), cells.amax((2, 3))], 1)).float()

    def forward(self, pixels: Float[Tensor, "b c h w"]) -> dict[str, Float[Tensor, "b _"]]:
        """Logits of every head, of pictures in [−1, 1]."""
        return self.answer(self.features(pixels))

    def answer(self, features: Float[Tensor, "b d"]) -> dict[str, Float[Tensor, "b _"]]:
        """Logits of every head, of features."""
        hidden = F.silu(features)
        return {name: head(hidden).float() for name, head in self.heads.items()}


class Verdict(NamedTuple):
    """What a classifier sees in n pictures."""

    features: Float[Tensor, "n d"]
    """float32, on the CPU."""
    probability: Mapping[str, Float[Tensor, "n _"]]
    """What each head thinks of its classes, float32, rows of sum 1."""

    @property
    def predicted(self) -> dict[str, Int64[Tensor, " n"]]:
        """Most probable class of each head."""
        return {name: values.argmax(1) for name, values in self.probability.items()}


@torch.no_grad()
def classify(
    model: ImageClassifier,
    pixels: UInt8[Tensor, "n c h w"],
    *,
    batch_size: int = 128,
) -> Verdict:
    """Features and probabilities of the classes of pictures 0 … 255, a batch at a time.

    Raises:
        UserError: If there are no pictures, or they have other channels than the classifier reads.
    """
    if not len(pixels):
        raise UserError("there are no pictures to classify")
    if pixels.shape[1] != model.config.channels:
        raise UserError(
            f"the pictures have {pixels.shape[1]} channels and the classifier reads {model.config.channels}"
        )
    device = next(model.parameters()).device
    features, probability = [], {name: [] for name in model.heads}
    for batch in pixels.split(batch_size):
        found = model.features(PixelRange().forward(batch.to(device)))
        features.append(found.cpu())
        for name, logits in model.answer(found).items():
            probability[name].append(logits.softmax(1).cpu())
    return Verdict(torch.cat(features), {name: torch.cat(parts) for name, parts in probability.items()})


def labels_of(head: Head, pictures: ImageSet) -> Int64[Tensor, " n"]:
    """The right answer of a head for each picture; `UNKNOWN` where there is none."""
    place = {name: index for index, name in enumerate(head.classes)}
    if head.name == "tone":
        tones = [skin_tone(text) for text in pictures.texts or ()] or [None] * len(pictures)
        answers: list[Any] = [None if tone is None else TONES[tone] for tone in tones]
    elif head.name == "class" and pictures.labels is not None:
        answers = [pictures.classes[label] for label in pictures.labels.tolist()]
    else:
        answers = [row.get(head.name) for row in pictures.rows]
    known = [place.get(str(answer), UNKNOWN) if answer is not None else UNKNOWN for answer in answers]
    return torch.tensor(known, dtype=torch.int64)


def head_for(name: str, pictures: ImageSet) -> Head:
    """The head called `name` with all the answers that occur in a set.

    Raises:
        UserError: If none do.
    """
    if name == "tone":
        return Head(name=name, classes=TONES)
    if name == "class" and pictures.classes:
        return Head(name=name, classes=pictures.classes)
    answers = sorted({str(row[name]) for row in pictures.rows if row.get(name) is not None})
    if not answers:
        raise UserError(f"no picture has {name!r} in its metadata", remedy="name a column that is there")
    return Head(name=name, classes=tuple(answers))


def classification_loss(
    logits: Mapping[str, Float[Tensor, "b _"]],
    labels: Mapping[str, Int64[Tensor, " b"]],
    *,
    smoothing: float = 0.1,
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """Sum over heads of the cross-entropy in nats over the labelled pictures, and the accuracies.

    A head for which a batch has no label adds zero, of zero gradient. Label smoothing: Szegedy et
    al. (2016), §7.
    """
    total = next(iter(logits.values())).new_zeros(())
    accuracies = {}
    for name, scores in logits.items():
        count = int((labels[name] != UNKNOWN).sum())
        # A sum of nothing is 0, a mean of nothing NaN; and a batch without any label can still be stepped on.
        summed = F.cross_entropy(
            scores, labels[name], ignore_index=UNKNOWN, label_smoothing=smoothing, reduction="sum"
        )
        total = total + summed / max(count, 1)
        if count:
            accuracies[name] = float((scores.argmax(1) == labels[name]).sum()) / count
    return total, accuracies


def count_parameters(model: nn.Module) -> int:
    """Numbers that training changes."""
    return sum(parameter.numel() for parameter in model.parameters())


def restore(
    config: Mapping[str, Any], transforms: Mapping[str, Transform], parts: Mapping[str, Any]
) -> ImageClassifier:
    """Build a classifier from the config of a checkpoint."""
    return ImageClassifier(from_json(ClassifierConfig, config), transforms)
