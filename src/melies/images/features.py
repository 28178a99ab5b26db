"""Spaces in which sets of pictures are compared: what turns pictures into features, and what it is called."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from melies import checkpoint
from melies.errors import UserError, nearest
from melies.files import file_sha256
from melies.images.classifier import ImageClassifier
from melies.models import ModelEntry, list_models
from melies.optional import import_from
from melies.progress import Progress, silent
from melies.text.weights import find_weights
from melies.transform import PixelRange

Pictures = UInt8[Tensor, "n c h w"]


class FeatureSpace(NamedTuple):
    """A function of pictures to features; distances are taken between sets of features."""

    name: str
    """What it is, with the first digits of its weights' digest."""
    extract: Callable[[Tensor], Tensor]
    """Pictures uint8 (b, c, h, w), few at once, to features (b, d)."""
    batch_size: int = 128
    """Pictures at once."""
    frechet: str = ""
    """What the Fréchet distance here is called, where it has a name of its own."""
    kernel: str = ""
    """So for the kernel distance."""

    @torch.no_grad()
    def __call__(self, pixels: Pictures, *, progress: Progress = silent) -> Float[Tensor, "n d"]:
        """Features of pictures, float32, on the CPU, a batch at a time.

        Raises:
            UserError: If there are no pictures, or the network takes other channels.
        """
        if not len(pixels):
            raise UserError("there are no pictures to measure")
        found = []
        with progress("looking at pictures", total=len(pixels), unit="pictures") as track:
            for batch in pixels.split(self.batch_size):
                found.append(self.extract(batch).float().cpu())
                track.advance(len(batch))
        return torch.cat(found)

    def spell(self, metric: str) -> str:
        """A metric's name with that of the space: `fd floor` is `FD[emoji-features@1a2b3c4d] floor`."""
        first, _, rest = metric.partition(" ")
        named = {"fd": self.frechet or f"FD[{self.name}]", "kd": self.kernel or f"KD[{self.name}]"}
        return f"{named.get(first, first)} {rest}".strip()


NETWORKS = {
    "pixels": "melies.images.networks:pixel_space",
    "efficientnet-lite0": "melies.images.networks:efficientnet_space",
    "inception": "melies.images.networks:inception_space",
    "dinov2": "melies.images.networks:dinov2_space",
    "clip": "melies.images.networks:clip_space",
}
"""Spaces beside those of classifiers: name → `(weights: str | None, find) → FeatureSpace`."""


def open_space(
    name: str,
    weights: str | None = None,
    *,
    allow_download: bool = False,
    say: Callable[[str], None] = print,
) -> FeatureSpace:
    """The feature space of that name: one of `NETWORKS`, or a classifier by its name or path.

    Args:
        name: Which.
        weights: For a network: a file or folder with its weights, or `hf:OWNER/NAME`; None for where they
            usually are.
        allow_download: Whether the hub may be asked for weights that are not here.
        say: Told before anything is downloaded.

    Raises:
        UserError: If there is none of that name, or its weights are not found or those of another network.
    """
    if name in NETWORKS:
        find = functools.partial(find_weights, allow_download=allow_download, say=say)
        return import_from(NETWORKS[name])(weights, find)
    if weights is not None:
        guess = nearest(name, NETWORKS)
        raise UserError(
            f"{name!r} has weights of its own, and --weights gives those of a network",
            remedy=f"did you mean {guess!r}?" if guess else f"--features {' or '.join(NETWORKS)}",
        )
    try:
        loaded = checkpoint.load(name)
    except UserError as error:
        if (guess := nearest(name, NETWORKS)) and not error.where:
            raise UserError(f"there is no model {name!r}", remedy=f"did you mean {guess!r}?") from None
        raise
    if not isinstance(loaded.model, ImageClassifier):
        raise UserError("not a classifier", where=name, remedy=f"give one, or one of {', '.join(NETWORKS)}")
    return classifier_space(loaded.model, classifier_name(loaded, name))


def classifier_space(model: ImageClassifier, name: str) -> FeatureSpace:
    """The features that all heads of a classifier read."""
    model = model.to(best_device())

    def extract(pixels: Tensor) -> Tensor:
        if pixels.shape[1] != model.config.channels:
            raise UserError(
                f"the pictures have {pixels.shape[1]} channels and the classifier reads"
                f" {model.config.channels}",
                where=name,
            )
        return model.features(PixelRange().forward(pixels.to(best_device())))

    return FeatureSpace(name, extract)


def find_classifier(
    role: str, *, classes: tuple[str, ...], shape: tuple[int, int, int], prepared: str = ""
) -> str | None:
    """The classifier for pictures of such classes that is here: `NAME-judge` or `NAME-features`.

    The one that is named after the set comes first, then one that knows the same classes; either reads
    pictures of that shape.

    Args:
        role: "judge" or "features".
        classes: Names of the classes; empty where there are none.
        shape: Channels, height and width of the pictures.
        prepared: Name of the set, where it is known.
    """
    fitting = [entry for entry in list_models() if entry.name.endswith(f"-{role}") and _reads(entry, shape)]
    named = [entry.name for entry in fitting if entry.name == f"{prepared}-{role}"]
    same = [entry.name for entry in fitting if classes and _classes_of(entry) == set(classes)]
    return next(iter(named + same), None)


def classifier_name(loaded: checkpoint.Loaded, name: str) -> str:
    """What a classifier is called in the names of metrics: its name and which weights it has."""
    return f"{Path(name).name}@{file_sha256(checkpoint.weights_file(loaded.folder))[:8]}"


def best_device() -> str:
    """The GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _reads(entry: ModelEntry, shape: tuple[int, int, int]) -> bool:
    config = _config_of(entry)
    channels, size = config.get("channels", 3), config.get("size")
    return entry.kind == "image-classifier" and (channels, size, size) == shape


def _classes_of(entry: ModelEntry) -> set[str]:
    heads = {head.get("name"): set(head.get("classes", ())) for head in _config_of(entry).get("heads", ())}
    return heads.get("class", set())


def _config_of(entry: ModelEntry) -> dict[str, Any]:
    return json.loads((entry.folder / "config.json").read_text(encoding="utf-8")).get("config", {})
