"""Pictures as files: one PNG each with its settings inside, a sheet of them all, and drawing one again."""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from melies import checkpoint
from melies.data.pixels import decode
from melies.diffusion.guidance.methods import guidance_of
from melies.errors import UserError
from melies.files import file_sha256, free_path, write_bytes, write_text
from melies.images.beside import Beside, load_beside
from melies.images.counting import Counts, counting
from melies.images.diffusers.draw import PREFIX, Pipeline, open_pipeline
from melies.images.families import Family, open_family
from melies.images.generate import draw
from melies.images.hints import ReadHint, hint_sizes, read_hints, steering_of
from melies.images.model import ImageDiffusion
from melies.images.settings import (
    KEY,
    Drawn,
    DrawSettings,
    describe,
    digest_of,
    find_inputs,
    read_inputs,
    read_settings,
    torch_version,
)
from melies.interfaces import Guidance
from melies.progress import Progress, silent
from melies.report.figure import grid as picture_grid
from melies.report.png import png_bytes
from melies.version import __version__

MAX_SHEET_PIXELS = 16_000_000
"""Pixels of all pictures on one sheet; a larger run is left without one."""

OF_DIFFUSION = (
    *("prompts", "negative", "scale", "guidance", "schedule", "interval", "steps", "sampler", "grid", "eta"),
    *("init", "strength", "mask", "weak", "classifier"),
    *("control", "control_model", "control_scale", "control_window", "control_interval", "control_guess"),
)
"""The settings that only a diffusion model draws by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateReport:
    """What a run wrote."""

    pictures: tuple[Path, ...]
    """One PNG each, with its settings inside and in a JSON file beside it."""
    grid: Path | None
    """All of them on one sheet, a row per prompt; None for a single picture, or for too many."""
    seconds: float
    """From the loaded model to the last file."""
    evaluations: int
    """Rows through the networks, the condition and its null counted apart; 0 where no step by step drawing
    is done."""
    calls: int
    """Calls of the networks that these rows went through."""
    notes: tuple[str, ...] = ()
    """What the user should know, such as words that the encoder did not read."""


def generate_files(
    settings: DrawSettings,
    out: Path,
    *,
    allow_download: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = print,
) -> GenerateReport:
    """Draw every picture of `settings` into `out`: PNG, JSON beside it, and a grid.

    Args:
        settings: What to draw.
        out: Where to; nothing there is overwritten.
        allow_download: Whether the text encoder's weights may be fetched from the Hugging Face hub.
        progress: Shows how far the drawing is.
        say: Told before anything is downloaded.

    Raises:
        UserError: If the model or a picture is not found, or the model cannot do what is asked.
    """
    family, weights = _load_for(settings, allow_download, say)
    beside = load_beside(family, settings, allow_download, say)
    inputs = read_inputs(settings)
    digests = {**{name: digest_of(data) for name, data in inputs.items()}, **beside.digests}
    side = family.side if isinstance(family, Pipeline) else family.model.shape[-1]
    hints = read_hints(settings, hint_sizes(beside.branches) or (side,) * len(settings.hints), inputs)
    started = time.perf_counter()
    written, sheets, sheet, notes = [], [], None, list(_unread(family, settings))
    notes += dict.fromkeys(note for hint in hints for note in hint.notes)
    evaluations, calls = 0, 0
    zoom = max(1, 128 // side)
    fits = settings.total * (zoom * side) ** 2 <= MAX_SHEET_PIXELS
    if not fits:
        notes.append(f"{settings.total} pictures are too many for one sheet; there is no grid")
    for start in range(0, settings.total, settings.batch):
        indices = range(start, min(start + settings.batch, settings.total))
        with _counting(family, beside) as counts:
            pixels = _draw_indices(family, beside, settings, indices, inputs, hints, progress)
        evaluations, calls = evaluations + counts.rows, calls + counts.calls
        if fits:
            sheets.append(pixels)
        for index, picture in zip(indices, pixels, strict=True):
            said = describe(settings, index, weights=weights, inputs=digests)
            written.append(_write_picture(out, picture, said, counts.rows // len(indices)))
    if fits and settings.total > 1:
        labels = [settings.label(row * settings.count) for row in range(settings.num_rows)]
        image = picture_grid(
            torch.cat(sheets).expand(-1, 3, -1, -1), columns=settings.count, row_labels=labels, zoom=zoom
        )
        sheet = free_path(out / "grid.png")
        write_bytes(sheet, png_bytes(image))
    return GenerateReport(
        pictures=tuple(written),
        grid=sheet,
        seconds=time.perf_counter() - started,
        evaluations=evaluations,
        calls=calls,
        notes=tuple(notes),
    )


def redraw_file(
    picture: Path,
    out: Path,
    *,
    allow_download: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = print,
) -> GenerateReport:
    """Draw a picture again from the settings inside it: the same bytes on one machine and version.

    The pictures that were drawn in one batch with it are computed again too, because what else is
    in a batch decides the last bit of a sum.

    Args:
        picture: A PNG that `generate_files` wrote.
        out: Where to; nothing there is overwritten.
        allow_download: As for `generate_files`, and so are `progress` and `say`.
        progress: Shows how far the drawing is.
        say: Told before anything is downloaded.

    Raises:
        UserError: If the picture carries no settings, or its model or the picture that it started
            from is not found or has changed.
    """
    drawn = read_settings(picture)
    settings, index = drawn.settings, drawn.index
    family, found = _load_for(settings, allow_download, say)
    if found != drawn.weights:
        raise UserError(
            f"drawn with other weights ({drawn.weights[:12]}) than those of {settings.model!r} now"
            f" ({found[:12]})",
            where=str(picture),
            remedy="use the version of the model that it was drawn with",
        )
    beside = load_beside(family, settings, allow_download, say)
    for name, digest in beside.digests.items():
        if digest != drawn.inputs.get(name):
            raise UserError(
                f"{beside.words[name]} has other weights now",
                where=str(picture),
                remedy="use the version of the model that it was drawn with",
            )
    inputs = find_inputs(drawn, picture)
    side = family.side if isinstance(family, Pipeline) else family.model.shape[-1]
    hints = read_hints(settings, hint_sizes(beside.branches) or (side,) * len(settings.hints), inputs)
    started = time.perf_counter()
    first = index - index % settings.batch
    indices = range(first, min(first + settings.batch, settings.total))
    with _counting(family, beside) as counts:
        pixels = _draw_indices(family, beside, settings, indices, inputs, hints, progress)
    said = describe(settings, index, weights=drawn.weights, inputs=drawn.inputs)
    path = _write_picture(out, pixels[index - first], said, counts.rows // len(indices))
    return GenerateReport(
        pictures=(path,),
        grid=None,
        seconds=time.perf_counter() - started,
        evaluations=counts.rows,
        calls=counts.calls,
        notes=_other_versions(drawn),
    )


def _other_versions(drawn: Drawn) -> tuple[str, ...]:
    """A note where melies or torch is not the one that drew the picture."""
    then, now = (drawn.version, drawn.torch), (__version__, torch_version())
    if then == now:
        return ()
    before, here = (f"melies {melies} with torch {torch or '?'}" for melies, torch in (then, now))
    return (f"drawn by {before}, now by {here}: the bytes may differ",)


def _draw_indices(
    family: Family | Pipeline,
    beside: Beside,
    settings: DrawSettings,
    indices: range,
    inputs: Mapping[str, bytes],
    hints: Sequence[ReadHint],
    progress: Progress,
) -> Tensor:
    if isinstance(family, Pipeline):
        pixels = [hint.pixels for hint in hints]
        return family.draw(settings, indices, _guidance(settings), progress, hints=pixels)
    seeds = [settings.seed_of(i) for i in indices]
    classes = [settings.class_of(i) for i in indices] if settings.classes else []
    model, b = family.loaded.model, len(indices)
    asked = settings.prompts or settings.classes or settings.control
    if not isinstance(model, ImageDiffusion) or not asked:
        labels = family.labels_of(classes, b)
        return family.sample(seeds, labels, batch_size=settings.batch, progress=progress)

    def given(name: str, channels: int) -> Tensor | None:
        if name not in inputs:
            return None
        where = getattr(settings, name)
        array = decode(inputs[name], size=model.config.size, channels=channels, where=where).square
        return torch.from_numpy(array.copy()).expand(b, -1, -1, -1)

    return draw(
        model,
        [settings.prompt_of(i) for i in indices] if settings.prompts else [],
        classes=classes,
        negative=settings.negative,
        scale=settings.scale,
        guidance=_guidance(settings),
        **{name: loaded.model for name, loaded in beside.others.items()},
        steering=steering_of(settings, beside.branches, hints, b),
        guess=settings.control_guess,
        num_steps=settings.steps,
        sampler=settings.sampler,
        grid=settings.grid,
        eta=settings.eta,
        seeds=seeds,
        init=given("init", model.config.channels),
        strength=settings.strength,
        mask=given("mask", 1),
        batch_size=settings.batch,
        progress=progress,
    )


def _guidance(settings: DrawSettings) -> Guidance | None:
    """The way of guiding that is asked for; None where a scale says it all."""
    if (settings.guidance, settings.schedule, settings.interval) == ("plain", "static", None):
        return None
    return guidance_of(
        settings.guidance,
        settings.scale,
        schedule=settings.schedule,
        interval=settings.interval,
    )


def _load_for(
    settings: DrawSettings, allow_download: bool, say: Callable[[str], None]
) -> tuple[Family | Pipeline, str]:
    """The model with the digest of its weights, once it is sure to draw by these settings."""
    if settings.model.startswith(PREFIX):
        pipeline = open_pipeline(settings, allow_download=allow_download, say=say)
        return pipeline, pipeline.weights
    family = open_family(
        settings.model,
        num_steps=settings.steps,
        sampler=settings.sampler,
        grid=settings.grid,
        eta=settings.eta,
    )
    model = family.loaded.model
    named = settings.prompts or settings.classes or settings.control_guess
    if isinstance(model, ImageDiffusion) and model.config.text and not named:
        raise UserError("nothing to draw", remedy='give a prompt: melies generate "a polar bear"')
    if not isinstance(model, ImageDiffusion):
        plain = DrawSettings()
        for name in OF_DIFFUSION:
            if getattr(settings, name) != getattr(plain, name):
                raise UserError(
                    f"{family.loaded.kind} does not draw by {name}",
                    where=settings.model,
                    remedy="that is for diffusion models",
                )
    if settings.init and not (settings.prompts or settings.classes):
        raise UserError("a picture to start from needs words or a class that it is changed towards")
    if settings.prompts:
        model.load_text_encoder(allow_download=allow_download, say=say)
    return family, file_sha256(checkpoint.weights_file(family.loaded.folder))


def _counting(family: Family | Pipeline, beside: Beside) -> AbstractContextManager[Counts]:
    """Counts what is evaluated step by step; nothing of a family that draws in one go."""
    if isinstance(family, Pipeline):
        return family.counting()
    model = family.loaded.model
    guided = isinstance(model, ImageDiffusion)
    return counting(*((model, *(other.model for other in beside.others.values())) if guided else ()))


def _write_picture(out: Path, pixels: Tensor, said: dict[str, Any], evaluations: int) -> Path:
    """One PNG with what it says of itself inside, and the same as JSON beside it, with what it cost."""
    array = pixels.permute(1, 2, 0).numpy()
    image = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    data = png_bytes(image, {KEY: json.dumps(said, ensure_ascii=False)})
    slug = re.sub(r"[^\w]+", "-", said["prompt"].lower()).strip("-")[:60].strip("-") or "picture"
    path = free_path(out / f"{slug}-{said['seed']}.png", data)
    write_bytes(path, data)
    beside = {**said, "evaluations": evaluations} if evaluations else said
    write_text(path.with_suffix(".json"), json.dumps(beside, indent=1, ensure_ascii=False) + "\n")
    return path


def _unread(family: Family | Pipeline, settings: DrawSettings) -> tuple[str, ...]:
    if not settings.prompts or isinstance(family, Pipeline):  # diffusers warns of its own
        return ()
    encoder: Any = family.loaded.model.text_encoder
    notes = []
    for prompt in [*settings.prompts, *([settings.negative] if settings.negative else [])]:
        if cut := encoder.cut(prompt):
            notes.append(f"the prompt is longer than {encoder.max_tokens} tokens; not read: {cut!r}")
    return tuple(notes)
