"""Draw pictures: words or classes in, pictures out, in memory or as files.

One sampling step reads in three files: `diffusion/sample.py` (the sampler), `diffusion/guidance/`
(the branches it combines) and `nn/` (the network).
"""

import functools
import inspect
import io
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from PIL import Image, PngImagePlugin
from torch import Tensor

from melies import checkpoint
from melies.config import check_range
from melies.data.pixels import decode
from melies.diffusion import GRIDS, SAMPLERS
from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance
from melies.errors import UserError, choose
from melies.files import file_sha256, write_bytes, write_text
from melies.images.model import ImageDiffusion
from melies.images.settings import KEY, DrawSettings, describe, input_digests, read_input, read_settings
from melies.interfaces import Branch, Denoise, Guidance, Noise
from melies.optional import import_from
from melies.progress import Progress, silent
from melies.report.figure import grid as picture_grid
from melies.rng import noise_for
from melies.transform import PixelRange
from melies.version import __version__

MAX_SHEET_PIXELS = 16_000_000
"""Pixels of all pictures on one sheet; a larger run is left without one."""


@torch.no_grad()
def draw(
    model: ImageDiffusion | str | Path,
    prompts: Sequence[str] = (),
    *,
    classes: Sequence[str] = (),
    negative: str = "",
    scale: float | Sequence[float] | Tensor = 4.0,
    guidance: Guidance | None = None,
    num_steps: int = 25,
    sampler: str = "dpmpp",
    grid: str = "karras",
    eta: float = 0.0,
    seeds: Sequence[int] | None = None,
    init: UInt8[Tensor, "b c h w"] | None = None,
    strength: float = 0.6,
    mask: UInt8[Tensor, "b 1 h w"] | None = None,
    batch_size: int = 8,
    progress: Progress = silent,
) -> UInt8[Tensor, "b c h w"]:
    """Draw one picture per prompt (or class).

    Args:
        model: A loaded model, or the name or path of one.
        prompts: What to draw, in words.
        classes: Class names instead, or besides: one per picture.
        negative: What not to draw.
        scale: Guidance scale: one, or one per picture; 1 is off.
        guidance: Another way of guiding; takes the place of `scale`.
        num_steps: Steps of the sampler.
        sampler: A name in `melies.diffusion.SAMPLERS`.
        grid: A name in `melies.diffusion.GRIDS`.
        eta: Fresh noise of the DDIM sampler, 0 … 1.
        seeds: One per picture, so that a picture does not depend on its neighbours; 0, 1, 2 …
            when not given.
        init: Pictures to start from (0 … 255), at the model's size.
        strength: How far they are changed, in (0, 1].
        mask: 255 where `init` is painted anew, 0 where it is kept.
        batch_size: Pictures at once; bounds memory.
        progress: Shows the network evaluations' progress.

    Returns:
        Pictures, 0 … 255.

    Raises:
        UserError: If the model, a sampler or a class is unknown, or the model cannot do what is asked.
        ValueError: If there is not one scale, seed, `init` or `mask` for each picture.
    """
    if isinstance(prompts, str) or isinstance(classes, str):
        raise ValueError("prompts and classes are sequences of texts, one for each picture")
    if not isinstance(model, ImageDiffusion):
        model = load_diffusion(model)
    total = max(len(prompts), len(classes))
    if total == 0 or any(len(given) not in (0, total) for given in (prompts, classes)):
        raise UserError("one prompt or one class is needed per picture")
    seeds = list(range(total)) if seeds is None else list(seeds)
    scales = torch.as_tensor(scale, dtype=torch.float32)
    for name, given in (
        ("scales", scales if scales.ndim else None),
        ("seeds", seeds),
        ("init", init),
        ("mask", mask),
    ):
        if given is not None and len(given) != total:
            raise ValueError(f"{len(given)} {name} for {total} pictures")
    scales = scales.expand(total)
    drawn = []
    with progress("drawing", total=total * num_steps, unit="steps") as track:
        for start in range(0, total, batch_size):
            part = slice(start, min(start + batch_size, total))
            x0 = _draw_batch(
                model,
                condition=model.condition_on(prompts[part], classes[part]),
                negative=negative,
                guidance=guidance or ClassifierFreeGuidance(scale=scales[part]),
                sigmas=sigma_grid(model, num_steps, grid, strength if init is not None else 1.0),
                sampler=choose_sampler(sampler, eta),
                noise=noise_for(seeds[part]),
                init=None if init is None else init[part],
                mask=None if mask is None else mask[part],
                tick=functools.partial(track.advance, part.stop - part.start),
            )
            drawn.append(x0)
    return torch.cat(drawn)


def _draw_batch(
    model: ImageDiffusion,
    *,
    condition: dict[str, Tensor],
    negative: str,
    guidance: Guidance,
    sigmas: Tensor,
    sampler: Callable,
    noise: Noise,
    init: Tensor | None,
    mask: Tensor | None,
    tick: Callable[[], None],
) -> Tensor:
    b = len(next(iter(condition.values())))
    branches = {
        "conditional": Branch(model, condition),
        "null": Branch(model, model.null_condition(condition)),
    }
    if negative:
        null = model.null_condition(condition)  # the class that is wanted is not part of what is not
        unwanted = {**null, **model.condition_on([negative] * b)}
        unwanted["present.text"] = torch.ones(b, dtype=torch.bool, device=model.device)
        branches["negative"] = Branch(model, unwanted)
    denoise = guidance.bind(branches, sigmas)
    start = torch.zeros(b, *model.shape, device=model.device)
    known = None
    if init is not None:
        known = model.encode(PixelRange().forward(init).to(model.device))
        start = known
    if mask is not None:
        denoise = keep_outside(denoise, known, mask.to(model.device))
    x = start + float(sigmas[0]) * noise(-1, start)
    x0 = sampler(ticking(denoise, sigmas, tick), x, sigmas, noise=noise)
    pixels = PixelRange().inverse(model.decode(x0)).cpu()
    return pixels if mask is None or init is None else torch.where(mask > 127, pixels, init)


def sigma_grid(model: ImageDiffusion, num_steps: int, grid: str, strength: float = 1.0) -> Tensor:
    """The noise levels of a run, from σ_max or, for a starting picture, from further down.

    The steps asked for are all taken; a lower strength spaces them more finely.
    """
    check_range("strength", strength, low=0, high=1, low_open=True)
    whole = import_from(choose(grid, GRIDS, "grid"))
    low, high = model.config.sigma_min, model.config.sigma_max
    if strength < 1:
        levels = whole(1000, low, high)
        high = max(float(levels[round((1 - strength) * 999)]), low * 1.01)
    return whole(num_steps, low, high)


def choose_sampler(name: str, eta: float = 0.0) -> Callable:
    """The sampler of that name; `eta` where it takes one."""
    sampler = import_from(choose(name, SAMPLERS, "sampler"))
    if eta and "eta" not in inspect.signature(sampler).parameters:
        raise UserError(f"the sampler {name!r} takes no eta", remedy="use --sampler ddim")
    return functools.partial(sampler, eta=eta) if eta else sampler


def keep_outside(denoise: Denoise, known: Float[Tensor, "b c h w"] | None, mask: Tensor) -> Denoise:
    """In-painting: outside the mask the denoised picture is always the known one.

    The sampler then carries the noise there straight to the known picture, and the painted part
    sees it at every step. A cell that the mask touches at all is painted anew.
    """
    if known is None:
        raise UserError("a mask needs a picture to keep the rest of")
    paint = torch.nn.functional.adaptive_max_pool2d((mask > 127).float(), known.shape[-2:])

    def kept(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.lerp(known, denoise(x, sigma), paint)

    return kept


def ticking(denoise: Denoise, sigmas: Tensor, tick: Callable[[], None]) -> Denoise:
    """Call `tick` once for every step that is reached, however often a sampler evaluates in it."""
    waiting = [float(sigma) for sigma in sigmas[:-1]]

    def ticked(x: Tensor, sigma: Tensor) -> Tensor:
        denoised = denoise(x, sigma)
        while waiting and float(sigma[0]) <= waiting[0] * (1 + 1e-6):
            waiting.pop(0)
            tick()
        return denoised

    return ticked


def load_diffusion(name: str | Path) -> ImageDiffusion:
    """The model alone, as `read_diffusion` finds it, with the same errors."""
    return read_diffusion(name).model


def read_diffusion(name: str | Path) -> checkpoint.Loaded:
    """A diffusion model by name or path, with what its checkpoint says; on the GPU where there is one.

    Raises:
        UserError: If it is not found, damaged, or another kind of model.
    """
    loaded = checkpoint.load(name)
    if not isinstance(loaded.model, ImageDiffusion):
        raise UserError(
            f"{loaded.kind} is not a model that draws", where=str(name), remedy="see `melies models`"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for part in loaded.model.parts.values():
        part.to(device)
    loaded.model.to(device)
    return loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateReport:
    """What a run wrote."""

    pictures: tuple[Path, ...]
    """One PNG each, with its settings inside and in a JSON file beside it."""
    grid: Path | None
    """All of them on one sheet, a row per prompt; None for a single picture, or for too many."""
    seconds: float
    """From the loaded model to the last file."""
    notes: tuple[str, ...] = ()
    """What the user should know, such as words that the encoder did not read."""


def generate_files(settings: DrawSettings, out: Path, *, progress: Progress = silent) -> GenerateReport:
    """Draw every picture of `settings` into `out`: PNG, JSON beside it, and a grid.

    Raises:
        UserError: If the model or a picture is not found, or the model cannot do what is asked.
    """
    model, weights = _load_for(settings.model)
    inputs = input_digests(settings)
    started = time.perf_counter()
    written, sheets, sheet, notes = [], [], None, list(_unread(model, settings))
    zoom = max(1, 128 // model.config.size)
    fits = settings.total * (zoom * model.config.size) ** 2 <= MAX_SHEET_PIXELS
    if not fits:
        notes.append(f"{settings.total} pictures are too many for one sheet; there is no grid")
    for start in range(0, settings.total, settings.batch):
        indices = range(start, min(start + settings.batch, settings.total))
        pixels = _draw_indices(model, settings, indices, progress)
        if fits:
            sheets.append(pixels)
        for index, picture in zip(indices, pixels, strict=True):
            written.append(
                _write_picture(out, picture, describe(settings, index, weights=weights, inputs=inputs))
            )
    if fits and settings.total > 1:
        labels = [settings.label(row * settings.count) for row in range(settings.num_rows)]
        image = picture_grid(
            torch.cat(sheets).expand(-1, 3, -1, -1), columns=settings.count, row_labels=labels, zoom=zoom
        )
        sheet = free_path(out / "grid.png")
        write_bytes(sheet, png_bytes(image, {}))
    return GenerateReport(
        pictures=tuple(written),
        grid=sheet,
        seconds=time.perf_counter() - started,
        notes=tuple(notes),
    )


def redraw_file(picture: Path, out: Path, *, progress: Progress = silent) -> GenerateReport:
    """Draw a picture again from the settings inside it: the same bytes on one machine and version.

    The pictures that were drawn in one batch with it are computed again too, because what else is
    in a batch decides the last bit of a sum.

    Raises:
        UserError: If the picture carries no settings, or its model or the picture that it started
            from is not found or has changed.
    """
    settings, index, weights, inputs, version = read_settings(picture)
    model, found = _load_for(settings.model)
    if found != weights:
        raise UserError(
            f"drawn with other weights ({weights[:12]}) than those of {settings.model!r} now ({found[:12]})",
            where=str(picture),
            remedy="use the version of the model that it was drawn with",
        )
    for name, digest in input_digests(settings).items():
        if digest != inputs.get(name):
            raise UserError(
                f"{getattr(settings, name)!r} is no longer the picture that --{name} was given",
                where=str(picture),
                remedy="put the earlier one back",
            )
    started = time.perf_counter()
    first = index - index % settings.batch
    indices = range(first, min(first + settings.batch, settings.total))
    pixels = _draw_indices(model, settings, indices, progress)
    said = describe(settings, index, weights=weights, inputs=inputs)
    path = _write_picture(out, pixels[index - first], said)
    other = f"drawn by melies {version}, now by {__version__}: the pixels may differ"
    notes = () if version == __version__ else (other,)
    return GenerateReport(pictures=(path,), grid=None, seconds=time.perf_counter() - started, notes=notes)


def _draw_indices(
    model: ImageDiffusion, settings: DrawSettings, indices: range, progress: Progress
) -> Tensor:
    size, channels, b = model.config.size, model.config.channels, len(indices)
    init = None if settings.init is None else _read_picture(settings.init, size, channels, b)
    mask = None if settings.mask is None else _read_picture(settings.mask, size, 1, b)
    return draw(
        model,
        [settings.prompt_of(i) for i in indices] if settings.prompts else [],
        classes=[settings.class_of(i) for i in indices] if settings.classes else [],
        negative=settings.negative,
        scale=settings.scale,
        num_steps=settings.steps,
        sampler=settings.sampler,
        grid=settings.grid,
        eta=settings.eta,
        seeds=[settings.seed_of(i) for i in indices],
        init=init,
        strength=settings.strength,
        mask=mask,
        batch_size=settings.batch,
        progress=progress,
    )


def _load_for(name: str) -> tuple[ImageDiffusion, str]:
    return load_diffusion(name), file_sha256(checkpoint.weights_file(checkpoint.locate(name)))


def _read_picture(path: str, size: int, channels: int, b: int) -> Tensor:
    pixels = torch.from_numpy(decode(read_input(path), size=size, channels=channels, where=path))
    return pixels.expand(b, -1, -1, -1)


def _write_picture(out: Path, pixels: Tensor, said: dict[str, Any]) -> Path:
    """One PNG with what it says of itself inside, and the same as JSON beside it."""
    array = pixels.permute(1, 2, 0).numpy()
    image = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    data = png_bytes(image, {KEY: json.dumps(said, ensure_ascii=False)})
    slug = re.sub(r"[^\w]+", "-", said["prompt"].lower()).strip("-")[:60].strip("-") or "picture"
    path = free_path(out / f"{slug}-{said['seed']}.png", data)
    write_bytes(path, data)
    write_text(path.with_suffix(".json"), json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    return path


def free_path(path: Path, data: bytes | None = None) -> Path:
    """`path`, or `path-2`, `path-3` …: the first that is free or already holds exactly `data`."""
    candidate, number = path, 1
    while candidate.exists() and (data is None or candidate.read_bytes() != data):
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def png_bytes(image: Image.Image, texts: dict[str, str]) -> bytes:
    """A PNG with text chunks; equal input gives equal bytes."""
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_itxt(name, text)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=info, compress_level=6)
    return buffer.getvalue()


def _unread(model: ImageDiffusion, settings: DrawSettings) -> tuple[str, ...]:
    if not settings.prompts:
        return ()
    encoder: Any = model.text_encoder
    notes = []
    for prompt in [*settings.prompts, *([settings.negative] if settings.negative else [])]:
        if cut := encoder.cut(prompt):
            notes.append(f"the prompt is longer than {encoder.max_tokens} tokens; not read: {cut!r}")
    return tuple(notes)
