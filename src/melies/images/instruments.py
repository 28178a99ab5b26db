"""What a model is measured with: real pictures, what to ask it for, a space of features, and a judge."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from melies import checkpoint
from melies.checkpoint import Loaded
from melies.data.places import FILES, find_or_make
from melies.errors import UserError
from melies.images.families import Family, family_of
from melies.images.features import FeatureSpace, find_classifier, open_space
from melies.images.judge import Judge, read_judge
from melies.images.model import ImageDiffusion
from melies.images.quality import Pictures
from melies.images.reference import LEAST, Asked, Reference, reference_of_classes, reference_of_words
from melies.interfaces import PictureModel
from melies.progress import Progress, silent


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Instruments:
    """A model with all that it is measured with."""

    family: Family
    """The model."""
    by_words: bool
    """Whether it is asked in words."""
    reference: Reference
    """The real pictures."""
    groups: Mapping[str, Asked]
    """What to ask for; distances are about the first group."""
    space: FeatureSpace
    """What distances are taken in."""
    judge: Judge | None
    """Says what a picture shows; None where nobody can."""
    real: Pictures
    """What drawn pictures are compared with."""

    @property
    def loaded(self) -> Loaded:
        """The checkpoint of the model."""
        return self.family.loaded

    @property
    def first(self) -> str:
        """The group that distances are about."""
        return next(iter(self.groups))

    @property
    def guided(self) -> bool:
        """Whether it can be guided: a diffusion model that is asked for something."""
        return isinstance(self.loaded.model, ImageDiffusion) and (
            self.by_words or bool(self.family.model.classes)
        )


def open_instruments(
    name: str,
    *,
    count: int,
    seed: int,
    data: Path | None = None,
    judge: str | None = None,
    features: str | None = None,
    weights: str | None = None,
    num_steps: int = 25,
    sampler: str = "dpmpp",
    allow_download: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = print,
) -> Instruments:
    """A model and what it is measured with, those of its set where nothing else is named.

    Args:
        name: The model, by name or path.
        count: At most so many pictures are asked for in each group.
        seed: Of their choice.
        data: The real pictures; None: where `melies data prepare` puts those of the model's recipe.
        judge: The classifier that says what a picture shows.
        features: A classifier or a network of `melies.images.features.NETWORKS`.
        weights: Weights of that network.
        num_steps: Steps of a diffusion model's sampler, where the family draws by itself.
        sampler: Its sampler.
        allow_download: Whether a text encoder or a network of features may be fetched from the hub.
        progress: Shows how far reading is.
        say: Told before anything is fetched.

    Raises:
        UserError: If the model, a classifier or the data is not found, or they do not fit.
    """
    loaded = checkpoint.load(name)
    family = family_of(loaded, num_steps=num_steps, sampler=sampler)
    model = loaded.model
    chosen = {"count": count, "seed": seed, "progress": progress}
    by_words = isinstance(model, ImageDiffusion) and model.config.text is not None
    if by_words:
        model.load_text_encoder(allow_download=allow_download, say=say)
        found = read_judge(judge or "emoji-judge")
        reference, groups = reference_of_words(data, model, found, **chosen)
        usual = "emoji-features"
    else:
        prepared = _set_of(name, data, loaded, family.model)
        if data is None and prepared is None:
            raise UserError(
                "it does not say which pictures it has learned", where=name, remedy="give --data PATH"
            )
        source = find_or_make(prepared or "", data, progress=progress)
        found, usual = _of_set(judge, family.model, prepared)
        reference, groups = reference_of_classes(source, family.model, **chosen)
    if features is None and weights is not None:
        raise UserError("which network are the weights of?", remedy="--features inception, or another")
    space = open_space(features or usual, weights, allow_download=allow_download, say=say)
    first = next(iter(groups))
    if len(groups[first].rows) < LEAST:
        raise UserError(
            f"{len(groups[first].rows)} real pictures are too few to measure with",
            where=str(data or "data"),
            remedy=f"bring at least {LEAST}",
        )
    pixels = reference.pictures.pixels
    return Instruments(
        family=family,
        by_words=by_words,
        reference=reference,
        groups=groups,
        space=space,
        judge=found,
        real=Pictures(pixels, space(pixels, progress=progress)),
    )


def short_name(name: str) -> str:
    """What a model is called in records: its name, or the last part of its path."""
    return Path(name).name


def _set_of(name: str, data: Path | None, loaded: Loaded, model: PictureModel) -> str | None:
    """The prepared set that a model has learned: by the data given, its recipe or name, or its classes."""
    told = [loaded.provenance.get("recipe"), short_name(name)]
    if data is not None:
        told = [data.name]
    judge = find_classifier("judge", classes=model.classes, shape=model.shape) or ""
    told.append(judge.removesuffix("-judge"))
    return next((name for name, file in FILES.items() if name in told or file in told), None)


def _of_set(judge: str | None, model: PictureModel, prepared: str | None) -> tuple[Judge | None, str]:
    """The judge that is asked for or is here for the set, and the features that are here; else pixels."""
    here = {
        role: find_classifier(role, classes=model.classes, shape=model.shape, prepared=prepared or "")
        for role in ("judge", "features")
    }
    name = judge or here["judge"]
    return None if name is None else read_judge(name), here["features"] or "pixels"
