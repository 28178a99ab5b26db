"""One encoded picture to a square of bytes: decoding, transparency, resizing, with limits."""

import io
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from melies.errors import UserError

MAX_PIXELS = 64_000_000
"""Of one picture: 256 MB with transparency. A larger one is refused before it is decoded."""

SIZES = (8, 1024)
"""Smallest and largest side in pixels that a set may be read at."""

_PILLOW_ERRORS = (
    UnidentifiedImageError,
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    OverflowError,
    IndexError,
)


def check_size(size: int, channels: int) -> None:
    """Refuse a side outside `SIZES` and channels other than 1 (grey) and 3 (RGB)."""
    if not SIZES[0] <= size <= SIZES[1]:
        raise UserError(
            f"size = {size} is not supported", remedy=f"give a side of {SIZES[0]} to {SIZES[1]} pixels"
        )
    if channels not in (1, 3):
        raise UserError(f"channels = {channels} is not supported", remedy="give 1 (grey) or 3 (RGB)")


class Decoded(NamedTuple):
    """A picture made square."""

    square: np.ndarray
    """uint8 (channels, size, size)."""
    stored: tuple[int, int]
    """Width and height in the file."""


def decode(
    data: bytes,
    *,
    size: int,
    channels: int = 3,
    background: tuple[int, int, int] = (255, 255, 255),
    fit: str = "crop",
    where: str = "picture",
) -> Decoded:
    """The square picture in an encoded file (the first frame, where it has several).

    The camera's orientation tag is applied; transparency is laid on `background` before resizing,
    which is resizing with premultiplied colour, so that hidden colours never bleed into an edge.
    Resizing is Lanczos with support scaled to the ratio (so shrinking averages the area).
    `fit="crop"` fills the square and cuts the longer side equally at both ends; `fit="pad"` shows
    all of the picture and fills the rest with `background`; `fit="exact"` refuses any other size.

    Raises:
        UserError: Naming `where`, if the data is no picture, cut short, larger than `MAX_PIXELS`, or not of
            the exact size.
    """
    picture = open_picture(data, where)
    stored = picture.size
    if fit == "exact" and stored != (size, size):
        raise UserError(
            f"is {picture.width}×{picture.height} pixels among pictures of {size}×{size}",
            where=where,
            remedy="make all of one size, or say at which size they are to be read",
        )
    square = _square(_flatten(picture, background, where), size, background, fit)
    if channels == 1:
        return Decoded(np.array(square.convert("L"))[None], stored)
    return Decoded(np.array(np.asarray(square).transpose(2, 0, 1), order="C"), stored)


def to_square(
    picture: Image.Image,
    *,
    size: int,
    background: tuple[int, int, int] = (255, 255, 255),
    fit: str = "crop",
    where: str = "picture",
) -> Image.Image:
    """The same policy for a picture that is already open: an RGB picture of `size` by `size`."""
    return _square(_flatten(picture, background, where), size, background, fit)


def open_picture(data: bytes, where: str) -> Image.Image:
    """The picture in an encoded file, decoded whole, as it is stored.

    Raises:
        UserError: Naming `where`, if the data is no picture, cut short, or larger than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own bomb warning: the limit below is ours
            picture = Image.open(io.BytesIO(data))
            if picture.width * picture.height > MAX_PIXELS:
                raise _too_large(where, picture.width, picture.height)
            picture.load()
            return picture
    except Image.DecompressionBombError:
        raise _too_large(where) from None
    except _PILLOW_ERRORS as error:
        reason = "not a picture" if isinstance(error, UnidentifiedImageError) else str(error) or "damaged"
        raise UserError(
            f"cannot be read as a picture ({reason})", where=where, remedy="remove it or copy it again"
        ) from None


def _too_large(where: str, *sides: int) -> UserError:
    sized = f"{sides[0]}×{sides[1]} pixels" if sides else "its size"
    return UserError(
        f"{sized} is more than the {MAX_PIXELS:,} pixels that one picture may have",
        where=where,
        remedy="shrink it first",
    )


def _flatten(picture: Image.Image, background: tuple[int, int, int], where: str) -> Image.Image:
    try:
        picture = ImageOps.exif_transpose(picture)
    except _PILLOW_ERRORS:
        pass  # a damaged orientation tag says nothing about the pixels
    if picture.mode.startswith("I;16"):
        return _grey(np.asarray(picture))
    if picture.mode == "I":
        levels = np.asarray(picture)
        if levels.min() < 0 or levels.max() > 65535:
            raise UserError("has 32-bit levels", where=where, remedy="convert it to 8 or 16 bits")
        return _grey(levels)
    if picture.mode == "F":
        raise UserError("has floating-point levels", where=where, remedy="convert it to 8 or 16 bits")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        paper = Image.new("RGBA", picture.size, (*background, 255))
        return Image.alpha_composite(paper, picture).convert("RGB")
    return picture.convert("RGB")


def _grey(levels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.round(levels / 257.0).astype(np.uint8)).convert("RGB")


def _square(picture: Image.Image, size: int, background: tuple[int, int, int], fit: str) -> Image.Image:
    if picture.size == (size, size):
        return picture
    width, height = picture.size
    if fit == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        # `box` takes fractions of a pixel, so the crop is centred exactly and costs one resampling.
        return picture.resize(
            (size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side)
        )
    if fit != "pad":
        raise ValueError(f"fit is 'crop', 'pad' or 'exact', not {fit!r}")
    longer = max(width, height)
    shape = (max(1, round(size * width / longer)), max(1, round(size * height / longer)))
    paper = Image.new("RGB", (size, size), background)
    paper.paste(
        picture.resize(shape, Image.Resampling.LANCZOS), ((size - shape[0]) // 2, (size - shape[1]) // 2)
    )
    return paper
