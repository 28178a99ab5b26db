"""Pictures of the Hugging Face hub (or any source that `datasets` loads), as an `ImageSet`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from melies.data.images import ImageSet, allocate
from melies.data.pixels import decode
from melies.errors import UserError
from melies.optional import require
from melies.progress import Progress

_CAPTIONS = ("text", "caption", "captions", "prompt")
_LABELS = ("label", "labels", "fine_label", "class")


def read_hub(
    name: str,
    *,
    split: str | None,
    limit: int | None,
    max_bytes: int | None,
    progress: Progress,
    options: Mapping[str, Any],
) -> ImageSet:
    """The data set `name` through `datasets`, which may download it and says so itself.

    The first column of pictures, the first of the usual names for captions, and the first column of
    classes are taken; all other plain columns go to `rows`.

    Raises:
        UserError: If `datasets` is missing, the name or split cannot be loaded, or there are no pictures.
    """
    datasets = require("datasets", extra="data", why=f"reading hf:{name}")
    where = f"hf:{name}"
    try:
        table = datasets.load_dataset(name, split=split or "train")
    except Exception as error:  # whatever the library, the network or the hub raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"cannot be loaded ({reason})", where=where, remedy="check name, split and network"
        ) from None
    image = next(
        (column for column, kind in table.features.items() if isinstance(kind, datasets.Image)), None
    )
    if image is None:
        raise UserError(f"has no column of pictures (it has {', '.join(table.features)})", where=where)
    table = table.cast_column(image, datasets.Image(decode=False))
    count = len(table) if limit is None else min(limit, len(table))
    if count == 0:
        raise UserError("holds no pictures", where=where)
    label = next((c for c in _LABELS if isinstance(table.features.get(c), datasets.ClassLabel)), None)
    pixels = allocate(count, (options["channels"], options["size"], options["size"]), max_bytes, where)
    sizes = torch.empty(count, 2, dtype=torch.int64)
    rows, names, labels = [], [], []
    with progress("reading pictures", total=count, unit="picture") as track:
        for index in range(count):
            place = index * len(table) // count
            row = dict(table[place])
            cell, at = row.pop(image), f"{where} row {place}"
            found = decode(_bytes(cell, at), **options, where=at)
            pixels[index] = torch.from_numpy(found.square)
            sizes[index] = torch.tensor(found.stored)
            names.append(cell.get("path") or f"{place:06d}")
            if label is not None:
                labels.append(row[label])
            rows.append(row)
            track.advance()
    texts = _texts(rows, where)
    if texts is not None:  # under the one name that the rows of a folder have, whatever the column was called
        rows = [{**row, "text": text} for row, text in zip(rows, texts, strict=True)]
    return ImageSet(
        pixels=pixels,
        sizes=sizes,
        texts=texts,
        labels=None if label is None else torch.tensor(labels, dtype=torch.int64),
        classes=() if label is None else tuple(table.features[label].names),
        rows=tuple(rows),
        names=tuple(names),
    )


def hub_splits(name: str) -> list[str]:
    """The splits that a data set of the hub has; none where it does not say.

    Raises:
        UserError: If `datasets` is missing.
    """
    datasets = require("datasets", extra="data", why=f"reading hf:{name}")
    try:
        return list(datasets.get_dataset_split_names(name))
    except Exception:  # whatever the library, the network or the hub raises; reading the set says it
        return []


def _bytes(cell: Any, where: str) -> bytes:
    if cell and cell.get("bytes"):
        return cell["bytes"]
    if cell and cell.get("path"):
        with Path(cell["path"]).open("rb") as file:
            return file.read()
    raise UserError("has no picture", where=where)


def _texts(rows: list[dict[str, Any]], where: str) -> tuple[str, ...] | None:
    column = next((c for c in _CAPTIONS if c in rows[0]), None)
    if column is None:
        return None
    texts = []
    for index, row in enumerate(rows):
        text = row[column][0] if isinstance(row[column], list) and row[column] else row[column]
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{column!r} is empty or no text", where=f"{where} row {index}")
        texts.append(text.strip())
    return tuple(texts)
