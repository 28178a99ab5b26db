"""Figures of pictures: labelled grids, and samples beside their nearest training neighbours."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from melies.errors import UserError

Images = UInt8[Tensor, "_ _ _ _"] | UInt8[np.ndarray, "_ _ _ _"] | Sequence[Image.Image]
"""Pictures: uint8 (n, 3, h, w) in colour or (n, 1, h, w) in grey, or PIL images of any size and mode."""

_MAX_PIXELS = 64_000_000
_MAX_LINES = 3
_INK = {"light": (32, 32, 32), "dark": (232, 232, 232)}


def grid(
    images: Images,
    columns: int | None = None,
    *,
    captions: Sequence[str] | None = None,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    pad: int = 4,
    background: str = "white",
    zoom: int = 1,
) -> Image.Image:
    """Pictures in rows of `columns`, with text under each, before each row and above each column.

    Args:
        images: What to show, row by row; cells are as large as the largest.
        columns: Pictures in a row; None makes the grid about square.
        captions: One text per picture, wrapped to the cell and cut after three lines.
        row_labels: One text per row.
        column_labels: One text per column.
        pad: Pixels between cells and around the grid.
        background: Any colour that PIL knows; see-through pictures are laid on it.
        zoom: Whole factor of enlargement, by nearest neighbour, so that pixels stay pixels.

    Raises:
        ValueError: If there is no picture, or the number of texts does not fit.
        UserError: If the figure would be larger than 64 megapixels.
    """
    return _sheet(
        _pictures(images, background, zoom),
        columns,
        captions=captions,
        row_labels=row_labels,
        column_labels=column_labels,
        pad=pad,
        background=background,
        gaps={},
    )


def neighbours_figure(
    samples: Images,
    neighbours: Sequence[Images],
    *,
    distances: Sequence[Sequence[float]] | None = None,
    captions: Sequence[str] | None = None,
    across: int = 1,
    pad: int = 4,
    background: str = "white",
    zoom: int = 1,
) -> Image.Image:
    """Each sample on the left of a row, its k nearest training pictures to the right of a gap.

    Args:
        samples: n drawn pictures.
        neighbours: For each sample its k nearest pictures, nearest first.
        distances: For each sample the k distances, written under the neighbours.
        captions: For each sample its prompt, written under it.
        across: How many samples stand side by side.
        pad: Pixels between cells.
        background: As in `grid`.
        zoom: As in `grid`.

    Raises:
        ValueError: If the numbers of samples, neighbours and texts differ.
    """
    drawn = _pictures(samples, background, zoom)
    found = [_pictures(row, background, zoom) for row in neighbours]
    k = len(found[0]) if found else 0
    if len(found) != len(drawn) or any(len(row) != k for row in found) or not k or across < 1:
        raise ValueError(f"{len(drawn)} samples need as many rows of neighbours, all of one length above 0")
    for title, texts in (("captions", captions), ("distances", distances)):
        if texts is not None and len(texts) != len(drawn):
            raise ValueError(f"{len(texts)} {title} for {len(drawn)} samples")
    rows = []
    for i, (sample, near) in enumerate(zip(drawn, found, strict=True)):
        under = [captions[i] if captions else ""]
        under += [f"{distance:.3g}" for distance in distances[i]] if distances else [""] * k
        rows.append(list(zip([sample, *near], under, strict=True)))
    across = min(across, len(rows))
    blank = [(Image.new("RGB", drawn[0].size, background), "")] * (k + 1)
    rows += [blank] * (-len(rows) % across)
    cells = [cell for row in rows for cell in row]
    titles = ["drawn", "nearest in training", *(f"no. {place}" for place in range(2, k + 1))]
    starts = range(0, across * (k + 1), k + 1)
    gaps = {start + 1: 3 * pad for start in starts} | {start: 8 * pad for start in starts[1:]}
    return _sheet(
        [picture for picture, _ in cells],
        across * (k + 1),
        captions=[text for _, text in cells],
        row_labels=None,
        column_labels=titles * across,
        pad=pad,
        background=background,
        gaps=gaps,
    )


def _sheet(
    pictures: Sequence[Image.Image],
    columns: int | None,
    *,
    captions: Sequence[str] | None,
    row_labels: Sequence[str] | None,
    column_labels: Sequence[str] | None,
    pad: int,
    background: str,
    gaps: Mapping[int, int],
) -> Image.Image:
    """Lay out and paint; `gaps` are further pixels before a column."""
    if not pictures:
        raise ValueError("a figure needs at least one picture")
    columns = math.ceil(math.sqrt(len(pictures))) if columns is None else columns
    if columns < 1 or pad < 0:
        raise ValueError(f"need columns ≥ 1 and pad ≥ 0, got {columns=}, {pad=}")
    rows = math.ceil(len(pictures) / columns)
    for title, texts, num in (
        ("captions", captions, len(pictures)),
        ("row labels", row_labels, rows),
        ("column labels", column_labels, columns),
    ):
        if texts is not None and len(texts) != num:
            raise ValueError(f"{len(texts)} {title} for {num}")
    width, height = (max(picture.size[axis] for picture in pictures) for axis in (0, 1))
    letters = min(24, max(11, width // 10))
    font = ImageFont.load_default(size=letters)
    line = math.ceil(letters * 1.3)
    heads = [_wrapped(text, font, width) for text in column_labels or []]
    sides = [_wrapped(text, font, max(width, 12 * line)) for text in row_labels or []]
    under = [_wrapped(text, font, width) for text in captions or [""] * len(pictures)]
    per_row = [under[i * columns : (i + 1) * columns] for i in range(rows)]
    text_heights = [line * max(len(text) for text in texts) for texts in per_row]
    widest = max((math.ceil(font.getlength(text)) for lines in sides for text in lines), default=0)
    side = widest + 3 * pad if widest else 0
    head = line * max((len(lines) for lines in heads), default=0)
    lefts = [
        pad + side + i * (width + pad) + sum(gap for at, gap in gaps.items() if at <= i)
        for i in range(columns)
    ]
    tops = [pad + head + i * (height + pad) + sum(text_heights[:i]) for i in range(rows)]
    size = (lefts[-1] + width + pad, tops[-1] + height + text_heights[-1] + pad)
    if size[0] * size[1] > _MAX_PIXELS:
        raise UserError(
            f"a figure of {size[0]}×{size[1]} pixels is too large",
            remedy="show fewer pictures, or less zoom",
        )
    sheet = Image.new("RGB", size, background)
    paint = ImageDraw.Draw(sheet)
    dark = sum(sheet.getpixel((0, 0))) < 3 * 128  # type: ignore[arg-type]
    ink = _INK["dark" if dark else "light"]

    def write(lines: Sequence[str], left: float, top: float, anchor: str) -> None:
        for number, text in enumerate(lines):
            paint.text((left, top + number * line), text, font=font, fill=ink, anchor=anchor)

    for left, lines in zip(lefts, heads, strict=False):
        write(lines, left + width / 2, pad / 2 + head - line * len(lines), "ma")
    for top, lines in zip(tops, sides, strict=False):
        write(lines, pad, top + (height - line * len(lines)) / 2, "la")
    for number, (picture, lines) in enumerate(zip(pictures, under, strict=True)):
        row, column = divmod(number, columns)
        inset = (width - picture.width) // 2, (height - picture.height) // 2
        sheet.paste(picture, (lefts[column] + inset[0], tops[row] + inset[1]))
        write(lines, lefts[column] + width / 2, tops[row] + height + 1, "ma")
    return sheet


def _pictures(images: Images, background: str, zoom: int) -> list[Image.Image]:
    """RGB pictures, enlarged."""
    if zoom < 1:
        raise ValueError(f"need zoom ≥ 1, got {zoom}")
    found, num_pixels = [], 0
    for image in as_pictures(images):
        num_pixels += image.width * image.height * zoom**2
        if num_pixels > _MAX_PIXELS:
            raise UserError(
                f"a figure of {num_pixels / 1e6:,.0f} megapixels or more is too large",
                remedy="show fewer pictures, or less zoom",
            )
        if image.mode != "RGB":
            see_through = image.convert("RGBA")
            image = Image.new("RGBA", image.size, background)
            image.alpha_composite(see_through)
            image = image.convert("RGB")
        size = image.width * zoom, image.height * zoom
        found.append(image if zoom == 1 else image.resize(size, Image.Resampling.NEAREST))
    return found


def as_pictures(images: Images) -> Iterator[Image.Image]:
    """The pictures of a batch one by one as PIL images; those that are some already, as they are.

    Raises:
        ValueError: If a tensor or array is not uint8 (n, 3, h, w) or (n, 1, h, w).
    """
    if isinstance(images, Sequence):
        yield from images
        return
    array = images.detach().cpu().numpy() if isinstance(images, Tensor) else images
    if array.ndim != 4 or array.shape[1] not in (1, 3) or array.dtype != np.uint8:
        raise ValueError(f"expected uint8 (n, 3, h, w) or (n, 1, h, w), got {array.dtype} {array.shape}")
    for entry in array:
        colour = entry if len(entry) == 3 else entry.repeat(3, axis=0)
        yield Image.fromarray(np.ascontiguousarray(colour.transpose(1, 2, 0)))


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> list[str]:
    """Lines that fit `width`, three at most; what is cut shows an ellipsis."""
    lines: list[str] = []
    words = text.split()
    while words and len(lines) < _MAX_LINES:
        num = 1
        while num < len(words) and font.getlength(" ".join(words[: num + 1])) <= width:
            num += 1
        lines.append(" ".join(words[:num]))
        words = words[num:]
    if words:
        lines[-1] += "…"
    return [_cut(line, font, width) for line in lines]


def _cut(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    if font.getlength(line) <= width:
        return line
    bare = line.removesuffix("…")
    while bare and font.getlength(bare + "…") > width:
        bare = bare[:-1]
    return bare + "…"
