"""What is in a set of pictures: counts, sizes, classes, captions, after every picture was decoded."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from melies.data.images import ImageSet, read_images, spread
from melies.progress import Progress, silent

CAPTIONS = 6
"""Captions shown, from all over the set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A set of pictures at a glance."""

    source: str
    count: int
    """Pictures, all of them readable."""
    sizes: Mapping[str, int]
    """Width×height in pixels → pictures, most frequent first."""
    classes: Mapping[str, int]
    """Class → pictures; empty without classes."""
    captions: tuple[tuple[str, str], ...]
    """A few (file name, caption); empty without captions."""
    columns: tuple[str, ...]
    """All columns of the metadata."""


def overview(source: str | Path, *, progress: Progress = silent) -> Overview:
    """Read a set whole, at a small size, and say what is in it.

    Raises:
        UserError: For anything wrong with the source, naming the file and the line.
    """
    pictures = read_images(source, size=32, progress=progress)
    sizes = (
        [] if pictures.sizes is None else [f"{width}×{height}" for width, height in pictures.sizes.tolist()]
    )
    counts = Counter() if pictures.labels is None else Counter(pictures.labels.tolist())
    return Overview(
        source=str(source),
        count=len(pictures),
        sizes=dict(Counter(sizes).most_common()),
        classes={name: counts[i] for i, name in enumerate(pictures.classes)},
        captions=_captions(pictures),
        columns=tuple(dict.fromkeys(name for row in pictures.rows for name in row)),
    )


def _captions(pictures: ImageSet) -> tuple[tuple[str, str], ...]:
    if pictures.texts is None:
        return ()
    text = dict(zip(pictures.names, pictures.texts, strict=True))
    return tuple((name, text[name]) for name in spread(pictures.names, CAPTIONS))
