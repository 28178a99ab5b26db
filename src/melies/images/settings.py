"""What is asked of a drawing run: checked, written into every picture, and read back from it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from melies.config import check_range, from_json, to_json
from melies.diffusion import GRIDS, METHODS, NEEDS, SAMPLERS, SCHEDULES
from melies.errors import UserError, choose
from melies.images.conditions import CONDITIONS
from melies.machine import versions
from melies.version import __version__

KEY = "melies"
"""Name of the text chunk in a PNG that holds the settings."""

NEEDED = {
    "negative": "something to avoid",
    "weak": "a weaker model",
    "classifier": "a classifier of noisy pictures",
}
"""In words, what `melies.diffusion.NEEDS` names."""

MAX_INPUT_BYTES = 256 << 20
"""Of one picture to start from, encoded."""


class Hint(NamedTuple):
    """One hint that is to be kept to."""

    kind: str
    """What it is, of `melies.images.conditions.CONDITIONS`."""
    picture: str
    """Its file."""
    model: str | None
    """Name or path of its control branch; None for the one that is made for the model."""
    scale: float
    """How strongly it acts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawSettings:
    """Everything that decides what is drawn. Two equal settings draw equal pictures."""

    prompts: tuple[str, ...] = ()
    """One row of pictures for each; with neither prompts nor classes, one row of whatever the model draws."""
    classes: tuple[str, ...] = ()
    """Class names, for a model with classes: one row each; with prompts, one for all or one each."""
    negative: str = ""
    """What the pictures should not be; takes the place of the null condition."""
    count: int = 4
    """Pictures per prompt."""
    scale: float = 4.0
    """Guidance scale; 1 is off."""
    guidance: str = "plain"
    """The way of guiding: NAME or NAME:parameter."""
    schedule: str = "static"
    """How guidance changes over the run, at the same mean scale: NAME or NAME:parameter."""
    interval: tuple[float, float] | None = None
    """σ between which guidance is on, low and high; None for the whole run."""
    steps: int = 25
    """Steps of the sampler."""
    sampler: str = "dpmpp"
    """How the noise is taken away."""
    grid: str = "karras"
    """How the noise levels are spaced."""
    eta: float = 0.0
    """Fresh noise of the DDIM sampler: 0 deterministic, 1 ancestral."""
    seed: int = 0
    """Seed of the first picture of every prompt; the next has seed + 1."""
    init: str | None = None
    """Picture to start from."""
    strength: float = 0.6
    """How far a starting picture is changed: near 0 hardly, 1 not kept at all."""
    mask: str | None = None
    """Picture whose white part is painted anew; the rest of `init` is kept."""
    model: str = "emoji"
    """Shipped model, the path of a checkpoint, or `diffusers:` and the folder or hub name of a pipeline."""
    weak: str | None = None
    """Weaker model of the same pictures, by name or path, for the guidance "autoguidance"."""
    classifier: str | None = None
    """Classifier of noisy pictures, by name or path, for the guidance "classifier"."""
    control: tuple[str, ...] = ()
    """Hints to keep to, each KIND=PICTURE; a hint of another size is cut to its middle square and resized."""
    control_model: tuple[str, ...] = ()
    """Control branches by name or path, one for all hints or one each; none for that of the model."""
    control_scale: tuple[float, ...] = (1.0,)
    """How strongly hints act, one number for all or one each; 0 is off."""
    control_window: tuple[float, float] = (0.0, 1.0)
    """Part of the run in which they act, as shares of its steps."""
    control_interval: tuple[float, float] | None = None
    """σ between which they act, low and high; None for the whole run."""
    control_guess: bool = False
    """Whether hints say alone what is drawn: only the condition gets them, and words may be left out."""
    batch: int = 8
    """Pictures drawn at once."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            UserError: Naming the first field that cannot be.
        """
        for prompt in self.prompts:
            if not prompt.strip():
                raise UserError("a prompt is empty", remedy="say in a few words what is wanted")
        if self.prompts and self.classes and len(self.classes) not in (1, len(self.prompts)):
            raise UserError(
                f"{len(self.classes)} classes for {len(self.prompts)} prompts",
                remedy="give one for all, or one each",
            )
        check_range("count", self.count, low=1, high=10_000)
        check_range("scale", self.scale, low=0, high=1_000)
        check_range("steps", self.steps, low=1, high=10_000)
        check_range("eta", self.eta, low=0, high=1)
        check_range("seed", self.seed, low=0, high=2**53)
        check_range("strength", self.strength, low=0, high=1, low_open=True)
        check_range("batch", self.batch, low=1, high=4_096)
        choose(self.sampler, SAMPLERS, "sampler")
        choose(self.grid, GRIDS, "grid")
        choose(self.schedule.partition(":")[0], SCHEDULES, "schedule")
        method = choose(self.guidance.partition(":")[0], list(METHODS), "guidance")
        needed = NEEDS.get(method, "")
        if needed and not getattr(self, needed):
            raise UserError(
                f"the guidance {method!r} needs {NEEDED[needed]}",
                remedy=f"add --{needed}",
            )
        for name, way in (("weak", "autoguidance"), ("classifier", "classifier")):
            if getattr(self, name) and needed != name:
                raise UserError(
                    f"{NEEDED[name]} has no part in the guidance {method!r}",
                    remedy=f"add --guidance {way}",
                )
        if needed == "classifier" and not self.classes:
            raise UserError("classifier guidance needs a class to guide to", remedy="add --class NAME")
        self._check_control()
        if self.mask and not self.init:
            raise UserError("a mask needs a picture to keep the rest of", remedy="add --init PICTURE")
        if self.eta and self.sampler != "ddim":
            raise UserError(f"eta belongs to the sampler 'ddim', not to {self.sampler!r}")

    def _check_control(self) -> None:
        for given in self.control:
            kind, equals, picture = given.partition("=")
            choose(kind, CONDITIONS, "kind of condition")
            if not equals or not picture:
                raise UserError(
                    f"the hint {given!r} names no picture", remedy=f"add --control {kind}=PICTURE"
                )
        count = len(self.control)
        for name, given in (("control_model", self.control_model), ("control_scale", self.control_scale)):
            if count and len(given) not in (1, count) and (given or name == "control_scale"):
                raise UserError(
                    f"{name}: {len(given)} for {count} hints", remedy="give one for all, or one each"
                )
        for scale in self.control_scale:
            check_range("control_scale", scale, low=0, high=1_000)
        start, end = self.control_window
        if not 0 <= start < end <= 1:
            raise UserError(
                f"control_window: {start:g} to {end:g} is no part of a run",
                remedy="give two shares from 0 to 1, the lower first",
            )
        if self.control_interval is not None:
            low, high = self.control_interval
            if not 0 <= low < high:
                raise UserError(
                    f"control_interval: ({low:g}, {high:g}] is no interval of noise levels",
                    remedy="give the lower σ first, at least 0, then the higher",
                )
        without = (self.control_model, self.control_scale, self.control_window, self.control_interval)
        if not count and ((*without, self.control_guess) != ((), (1.0,), (0.0, 1.0), None, False)):
            raise UserError("there is no hint to keep to", remedy="add --control KIND=PICTURE")

    @property
    def hints(self) -> tuple[Hint, ...]:
        """The hints with what holds for each."""
        count = len(self.control)
        scales = self.control_scale if len(self.control_scale) == count else self.control_scale * count
        models: tuple[str | None, ...] = self.control_model or (None,)
        models = models if len(models) == count else models * count
        return tuple(
            Hint(kind, picture, model, scale)
            for (kind, _, picture), model, scale in zip(
                (given.partition("=") for given in self.control), models, scales, strict=True
            )
        )

    @property
    def num_rows(self) -> int:
        """Rows of pictures: one per prompt, or per class where there are none, or one."""
        return len(self.prompts) or len(self.classes) or 1

    @property
    def total(self) -> int:
        """Pictures in the run."""
        return self.num_rows * self.count

    def row(self, index: int) -> int:
        """Which prompt picture `index` belongs to; pictures are numbered prompt by prompt."""
        return index // self.count

    def seed_of(self, index: int) -> int:
        """The seed of picture `index`."""
        return self.seed + index % self.count

    def prompt_of(self, index: int) -> str:
        """The prompt of picture `index`; empty for a model without text."""
        return self.prompts[self.row(index)] if self.prompts else ""

    def class_of(self, index: int) -> str:
        """The class of picture `index`; empty for a model without classes."""
        if not self.classes:
            return ""
        return self.classes[self.row(index) if len(self.classes) > 1 else 0]

    def label(self, index: int) -> str:
        """What picture `index` shows, in words."""
        return self.prompt_of(index) or self.class_of(index)


class Drawn(NamedTuple):
    """What a picture was drawn from."""

    settings: DrawSettings
    index: int
    """Which picture of the run it is."""
    weights: str
    """SHA-256 of the model's weights."""
    inputs: Mapping[str, str]
    """SHA-256 of the pictures that the run started from, by the name of their setting."""
    version: str
    """Of melies."""
    torch: str
    """Version of torch; empty where the picture does not say."""


def describe(
    settings: DrawSettings, index: int, *, weights: str, inputs: Mapping[str, str]
) -> dict[str, Any]:
    """What a picture says of itself: the whole run, which picture of it, the weights, the versions.

    The whole run is kept because the last bit of a sum depends on what else is in the batch.
    """
    return {
        "version": __version__,
        "torch": torch_version(),
        "weights_sha256": weights,
        "inputs_sha256": dict(inputs),
        "index": index,
        "prompt": settings.label(index),
        "seed": settings.seed_of(index),
        "settings": to_json(settings),
    }


def torch_version() -> str:
    """The version of torch that draws, without loading it."""
    return versions(("torch",)).get("torch", "")


def read_inputs(settings: DrawSettings) -> dict[str, bytes]:
    """The pictures that a run starts from, encoded, by the name of their setting.

    Raises:
        UserError: If one cannot be read.
    """
    return {name: read_input(Path(path)) for name, path in _inputs_of(settings).items()}


def find_inputs(drawn: Drawn, picture: Path) -> dict[str, bytes]:
    """The pictures that one was drawn from: on the path given, from here or from its folder, or beside it.

    Raises:
        UserError: If one is in none of these places, or is another picture by now.
    """
    found = {}
    for name, given in _inputs_of(drawn.settings).items():
        beside = picture.parent
        places = list(dict.fromkeys((Path(given), beside / given, beside / Path(given).name)))
        there = [read_input(place) for place in places if place.is_file()]
        right = [data for data in there if digest_of(data) == drawn.inputs.get(name)]
        if not right:
            state = "is no longer there as it was" if there else "is not there"
            raise UserError(
                f"the picture {given!r} that --{name} was given {state} (looked for"
                f" {', '.join(map(str, places))})",
                where=str(picture),
                remedy="put it back, or beside this one",
            )
        found[name] = right[0]
    return found


def digest_of(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def _inputs_of(settings: DrawSettings) -> dict[str, str]:
    given = {"init": settings.init, "mask": settings.mask}
    hints = {hint_name(number): hint.picture for number, hint in enumerate(settings.hints)}
    return {name: path for name, path in given.items() if path} | hints


def hint_name(number: int) -> str:
    """What the hint of that number, from 0, is called among the pictures that a run starts from."""
    return f"control {number + 1}"


def read_input(path: Path) -> bytes:
    """The encoded picture in a file that a run starts from.

    Raises:
        UserError: If it cannot be read, or is too large to be a picture.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if len(data) > MAX_INPUT_BYTES:
        raise UserError(f"larger than {MAX_INPUT_BYTES >> 20} MiB", where=str(path), remedy="shrink it first")
    return data


def read_settings(picture: Path) -> Drawn:
    """What a picture says that it was drawn from.

    Raises:
        UserError: If it is no picture, or was not drawn by melies.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(picture) as opened:
            text = opened.info.get(KEY)
    except FileNotFoundError:
        raise UserError("no such picture", where=str(picture)) from None
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"not a readable picture ({error})", where=str(picture)) from None
    remedy = "give a PNG that `melies generate` wrote, not a copy that lost its text"
    if not isinstance(text, str):
        raise UserError("the picture carries no settings", where=str(picture), remedy=remedy)
    try:
        data = json.loads(text)
        index, weights, version = int(data["index"]), str(data["weights_sha256"]), str(data["version"])
        inputs = {str(name): str(digest) for name, digest in data["inputs_sha256"].items()}
        settings = from_json(DrawSettings, data["settings"], where=f"{picture.name}: settings")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"its settings cannot be read ({error})", where=str(picture), remedy=remedy) from None
    if not 0 <= index < settings.total:
        raise UserError(f"picture {index} of a run of {settings.total}", where=str(picture), remedy=remedy)
    return Drawn(settings, index, weights, inputs, version, str(data.get("torch", "")))
