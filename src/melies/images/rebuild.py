"""Pictures through a model and back, and the way from one to another, as files."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from melies.data.pixels import decode, open_picture
from melies.errors import UserError
from melies.files import free_path, write_bytes
from melies.images.families import BATCH, Family, open_family
from melies.images.mix import mixed
from melies.images.pictures import MAX_SHEET_PIXELS
from melies.images.settings import read_input
from melies.metrics.similarity import PSNR_MAX, psnr, ssim
from melies.progress import Progress, silent
from melies.report.figure import as_pictures, grid
from melies.report.png import png_bytes

ACROSS = 4
"""Pairs side by side on a sheet."""
VISIBLE_PX = 96
"""Small pictures are enlarged to about this on a sheet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """One picture and what came back."""

    source: Path
    picture: Path
    """The reconstruction."""
    psnr_db: float
    """At most `PSNR_MAX`, which stands for equal pictures."""
    ssim: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructReport:
    """What reconstructing wrote."""

    rebuilt: tuple[Rebuilt, ...]
    sheet: Path | None
    """All pairs; None where they are too many for one picture."""
    seconds: float
    notes: tuple[str, ...]
    """What was done to a picture before the model saw it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InterpolateReport:
    """What interpolating wrote."""

    pictures: tuple[Path, ...]
    """From the first to the second, reconstructions of both included."""
    strip: Path
    """All of them in a row, between the two that were given."""
    mixing: str
    """How latents were mixed."""
    seconds: float
    notes: tuple[str, ...]


def reconstruct_files(
    model: str | Path,
    sources: Sequence[Path],
    out: Path,
    *,
    classes: Sequence[str] = (),
    batch_size: int = BATCH,
    progress: Progress = silent,
) -> ReconstructReport:
    """Encode and decode pictures; every reconstruction is a file, and all pairs are on one sheet.

    Args:
        model: A model of any family.
        sources: Pictures; they are cropped, resized and converted as the model needs them.
        out: Where to; nothing there is overwritten.
        classes: What they show, for a model of classes: one for all, or one each.
        batch_size: Pictures at once.
        progress: Shows how far it is.

    Raises:
        UserError: If the model or a picture cannot be read, or a class is missing or unknown.
    """
    if not sources:
        raise UserError("no pictures given", remedy="name one or more files")
    family = open_family(model)
    labels = family.labels_of(classes, len(sources))
    pixels, notes = read_pictures(family, sources)
    started = time.perf_counter()
    again = family.reconstruct(pixels, labels, batch_size=batch_size, progress=progress)
    quality = zip(psnr(again, pixels).clamp(max=PSNR_MAX).tolist(), ssim(again, pixels).tolist(), strict=True)
    written = [
        Rebuilt(
            source=source, picture=_write(out / f"{source.stem}-rebuilt.png", picture), psnr_db=db, ssim=like
        )
        for source, picture, (db, like) in zip(sources, as_pictures(again), quality, strict=True)
    ]
    across = min(ACROSS, len(sources))
    zoom = _zoom(pixels)
    sheet = None
    if 2 * pixels[:, 0].numel() * zoom**2 <= MAX_SHEET_PIXELS:
        pairs = torch.stack([pixels, again], 1).flatten(0, 1)
        titles = ["picture", "reconstruction"] * across
        sheet = _write(out / "reconstructions.png", grid(pairs, 2 * across, column_labels=titles, zoom=zoom))
    else:
        notes.append(f"{len(sources)} pairs are too many for one sheet; there is none")
    return ReconstructReport(
        rebuilt=tuple(written), sheet=sheet, seconds=time.perf_counter() - started, notes=tuple(notes)
    )


def interpolate_files(
    model: str | Path,
    first: Path,
    second: Path,
    out: Path,
    *,
    num_steps: int = 8,
    mixing: str | None = None,
    classes: Sequence[str] = (),
    batch_size: int = BATCH,
    progress: Progress = silent,
) -> InterpolateReport:
    """The pictures whose latents lie at even distances from that of one picture to that of another.

    Args:
        model: A model of any family.
        first: Where the way begins.
        second: Where it ends.
        out: Where to; nothing there is overwritten.
        num_steps: Pictures on the way, both ends included.
        mixing: "linear" or "spherical"; what suits the model's latents where left out.
        classes: What the two show, for a model of classes: one for both, or one each, and then the
            nearer one is asked for on the way.
        batch_size: Pictures at once.
        progress: Shows how far it is.

    Raises:
        UserError: If the model or a picture cannot be read, or a class is missing or unknown.
    """
    family = open_family(model)
    labels = family.labels_of(classes, 2)
    ends, notes = read_pictures(family, (first, second))
    started = time.perf_counter()
    latents = family.encode(ends, labels, batch_size=batch_size, progress=progress)
    mixing = mixing or family.mixing
    way = mixed(latents[:1], latents[1:], num=num_steps, mixing=mixing)[0]
    pictures = family.decode(way, nearer(labels, num_steps), batch_size=batch_size, progress=progress)
    stem = f"{first.stem}-to-{second.stem}"
    written = [
        _write(out / f"{stem}-{number:02d}.png", picture)
        for number, picture in enumerate(as_pictures(pictures))
    ]
    strip = grid(
        torch.cat([ends[:1], pictures, ends[1:]]),
        num_steps + 2,
        column_labels=[first.stem, *[""] * num_steps, second.stem],
        zoom=_zoom(ends),
    )
    return InterpolateReport(
        pictures=tuple(written),
        strip=_write(out / f"{stem}.png", strip),
        mixing=mixing,
        seconds=time.perf_counter() - started,
        notes=tuple(notes),
    )


def nearer(labels: Int64[Tensor, " 2"] | None, num: int) -> Int64[Tensor, " n"] | None:
    """The label of the nearer end for each of `num` steps; the first in the middle."""
    return None if labels is None else labels[(torch.arange(num) * 2 > num - 1).long()]


def read_pictures(family: Family, sources: Sequence[Path]) -> tuple[UInt8[Tensor, "n c h w"], list[str]]:
    """Pictures as the model knows them, and what had to be done to them.

    Raises:
        UserError: If one cannot be read.
    """
    channels, size, _ = family.model.shape
    found, notes = [], []
    for source in sources:
        data = read_input(source)
        picture = open_picture(data, str(source))
        if picture.size != (size, size):
            cropped = "cropped and " if picture.width != picture.height else ""
            notes.append(f"{source}: {picture.width}×{picture.height} was {cropped}resized to {size}×{size}")
        coloured = _has_colour(picture)
        if channels == 1 and coloured:
            notes.append(f"{source}: the model draws grey, and colour was left out")
        if channels == 3 and not coloured:
            notes.append(f"{source}: is grey, and the model draws in colour")
        found.append(torch.from_numpy(decode(data, size=size, channels=channels, where=str(source)).square))
    return torch.stack(found), notes


def _has_colour(picture: Image.Image) -> bool:
    if picture.mode in ("1", "L", "LA", "I", "F") or picture.mode.startswith("I;16"):
        return False
    red, green, blue = picture.convert("RGB").split()
    return red.tobytes() != green.tobytes() or green.tobytes() != blue.tobytes()


def _zoom(pixels: Tensor) -> int:
    return max(1, VISIBLE_PX // pixels.shape[-1])


def _write(path: Path, picture: Image.Image) -> Path:
    data = png_bytes(picture)
    path = free_path(path, data)
    return write_bytes(path, data)
