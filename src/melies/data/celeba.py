"""CelebA as it is distributed: aligned faces in one folder, their attributes and their parts in text files.

Liu et al. (2015), "Deep learning face attributes in the wild": `img_align_celeba/*.jpg` of 178×218,
`list_attr_celeba.txt` and, where it is there, `list_eval_partition.txt`; or the same tables as `.csv`.
"""

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from melies.data.archive import Files, open_files
from melies.data.images import ImageSet, read_images
from melies.errors import UserError, choose
from melies.progress import Progress, silent

ATTRIBUTES, PARTS = "list_attr_celeba", "list_eval_partition"
PART = {"train": "0", "validation": "1", "test": "2"}
"""Split → its number in the table of parts."""


def read_celeba(
    source: str | Path,
    *,
    size: int,
    attribute: str = "Smiling",
    split: str = "train",
    limit: int | None = None,
    progress: Progress = silent,
) -> ImageSet:
    """Faces with one of the forty attributes as their class: `not-smiling` and `smiling`.

    Args:
        source: The folder or zip that holds `img_align_celeba` and the tables.
        size: Side in pixels; the middle of each picture is cropped.
        attribute: As the table spells it.
        split: "train", "validation" or "test"; without a table of parts all pictures are "train".
        limit: Read at most this many.
        progress: Shows the reading.

    Raises:
        UserError: If the pictures or the table of attributes are missing or damaged, or the attribute or
            the split is unknown.
    """
    number = choose(split, PART, "split of CelebA")
    with open_files(source) as files:
        attributes = _read_table(files, ATTRIBUTES)
        if attributes is None:
            raise UserError(f"lacks {ATTRIBUTES}.txt", where=str(source), remedy="put it beside the pictures")
        parts = _read_table(files, PARTS, header=False)
    names = attributes.columns
    place = names.index(choose(attribute, list(names), "attribute"))
    wanted = None if parts is None else {name for name, row in parts.rows.items() if row[:1] == [number]}
    if parts is None and split != "train":
        raise UserError(f"has no part {split!r} without {PARTS}.txt", where=str(source))

    def keep(name: str) -> bool:
        return wanted is None or posixpath.basename(name) in wanted

    pictures = read_images(source, size=size, channels=3, limit=limit, keep=keep, progress=progress)
    labels = []
    for name in pictures.names:
        row = attributes.rows.get(posixpath.basename(name))
        if row is None:
            raise UserError(f"has no row in {ATTRIBUTES}", where=f"{source}: {name}", remedy="remove it")
        labels.append(int(row[place] == "1"))
    word = attribute.lower().replace("_", "-")
    return replace(pictures, labels=torch.tensor(labels), classes=(f"not-{word}", word))


class _Table(NamedTuple):
    """Rows of words by the name of their picture."""

    columns: tuple[str, ...]
    rows: Mapping[str, list[str]]


def _read_table(files: Files, stem: str, *, header: bool = True) -> _Table | None:
    """A table in either of its forms, or None where there is none.

    The text form has the number of rows in its first line, where it has names of columns in the second.
    """
    found = [name for name in files.names if posixpath.basename(name) in (f"{stem}.txt", f"{stem}.csv")]
    if not found:
        return None
    where = files.where(found[0])
    try:
        lines = files.read(found[0], max_bytes=256 << 20).decode().splitlines()
    except UnicodeDecodeError:
        raise UserError("not a text file", where=where) from None
    separator = "," if found[0].endswith(".csv") else None
    table = [
        words for line in lines if (words := [word.strip() for word in line.split(separator)]) and words[0]
    ]
    if separator:
        columns, table = (table[0][1:] if table else []), table[1:]
    elif header:
        columns, table = (table[1] if len(table) > 1 else []), table[2:]
    else:
        columns = ["part"]
    for words in table:
        if len(words) != len(columns) + 1:
            raise UserError(
                f"the row of {words[0]} has {len(words) - 1} values for {len(columns)}", where=where
            )
    if not table:
        raise UserError("has no rows", where=where)
    return _Table(tuple(columns), {words[0]: words[1:] for words in table})
