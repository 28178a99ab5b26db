"""ImageNet as it is distributed: `train/n01440764/*.JPEG`, a folder per class, named by its WordNet number.

Russakovsky et al. (2015), "ImageNet large scale visual recognition challenge". Where a table of the
numbers' words lies beside it, classes are called by these.
"""

import posixpath
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from melies.data.archive import Files, open_files
from melies.data.images import ImageSet, read_images
from melies.progress import Progress, silent

TABLES = ("LOC_synset_mapping.txt", "synset_words.txt", "words.txt")
"""Names under which the words come, a line for each number."""

_TRAINING = re.compile(r"(?:.*/)?train/(n\d{8})/[^/]+")


def read_imagenet(
    source: str | Path, *, size: int, limit: int | None = None, progress: Progress = silent
) -> ImageSet:
    """The training pictures with their classes; the parts for validation and for tests are passed over.

    Args:
        source: The folder or zip that holds `train/`, at whatever depth.
        size: Side in pixels; the middle of each picture is cropped.
        limit: Read at most this many, spread evenly over the classes.
        progress: Shows the reading.

    Raises:
        UserError: If there are no such folders, or a picture is damaged.
    """

    def keep(name: str) -> bool:
        return _TRAINING.fullmatch(name) is not None

    pictures = read_images(
        source, size=size, channels=3, split="train", limit=limit, keep=keep, progress=progress
    )
    with open_files(source) as files:
        words = _read_words(files)
    return replace(pictures, classes=class_names(pictures.classes, words))


def class_names(numbers: tuple[str, ...], words: dict[str, str]) -> tuple[str, ...]:
    """What classes are called: the first of their words, with the number where two share it."""
    first = [words.get(number, number) for number in numbers]
    shared = {word for word, count in Counter(first).items() if count > 1}
    return tuple(
        f"{word}-{number}" if word in shared else word for word, number in zip(first, numbers, strict=True)
    )


def _read_words(files: Files) -> dict[str, str]:
    """Number → its first word, in lower case with hyphens; empty where there is no table."""
    found = [name for name in files.names if posixpath.basename(name) in TABLES]
    if not found:
        return {}
    text = files.read(found[0], max_bytes=16 << 20).decode(errors="replace")
    rows = (line.split(maxsplit=1) for line in text.splitlines())
    return {row[0]: row[1].split(",")[0].strip().lower().replace(" ", "-") for row in rows if len(row) == 2}
