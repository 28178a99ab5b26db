"""Sets of pictures with captions or classes, read whole into memory from a folder, a zip or a hub."""

import os
import posixpath
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from melies.data.archive import Files, open_files
from melies.data.metadata import Row, check_texts, metadata_files, read_rows
from melies.data.pixels import check_size, decode
from melies.data.shards import columns_beside
from melies.errors import UserError, choose
from melies.progress import Progress, silent

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
SPLITS = ("train", "test", "validation", "valid", "val", "dev")
MAX_PICTURE_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """Pictures of one size with what is known of each; all sequences have the same length n."""

    pixels: UInt8[Tensor, "n c size size"]
    """0 … 255, RGB or grey."""
    texts: tuple[str, ...] | None
    """Captions; None where the source has none."""
    labels: Int64[Tensor, " n"] | None
    """Indices into `classes`; None where the source has no classes."""
    classes: tuple[str, ...]
    """Class names in the order of their labels; empty without labels."""
    rows: tuple[Mapping[str, Any], ...]
    """All metadata columns of each picture; empty mappings where there is no metadata."""
    names: tuple[str, ...]
    """File names relative to the source."""
    sizes: Int64[Tensor, "n 2"] | None = None
    """Width and height of each as stored, before it was made square; None where nothing was read."""

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.names)

    def read(self, indices: Int64[Tensor, " b"]) -> UInt8[Tensor, "b c size size"]:
        """The pixels of those at `indices`."""
        return self.pixels[indices]

    def subset(self, indices: Sequence[int] | Tensor) -> "ImageSet":
        """The pictures at `indices`, in that order; a boolean mask of length n selects likewise."""
        chosen = torch.as_tensor(indices)
        if chosen.dtype == torch.bool:
            if chosen.shape != (len(self),):
                raise ValueError(f"a mask of {tuple(chosen.shape)} for {len(self)} pictures")
            chosen = chosen.nonzero().flatten()
        chosen = chosen.to(torch.int64)
        places = chosen.tolist()
        return ImageSet(
            pixels=self.pixels[chosen],
            texts=None if self.texts is None else tuple(self.texts[i] for i in places),
            labels=None if self.labels is None else self.labels[chosen],
            classes=self.classes,
            rows=tuple(self.rows[i] for i in places),
            names=tuple(self.names[i] for i in places),
            sizes=None if self.sizes is None else self.sizes[chosen],
        )


def read_images(
    source: str | Path,
    *,
    size: int,
    channels: int = 3,
    background: tuple[int, int, int] = (255, 255, 255),
    fit: Literal["crop", "pad", "exact"] = "crop",
    split: str | None = None,
    limit: int | None = None,
    max_bytes: int | None = None,
    keep: Callable[[str], bool] | None = None,
    progress: Progress = silent,
) -> ImageSet:
    """The pictures of a folder or zip in the `imagefolder` convention, of shards, or of `hf:NAME`.

    Captions and further columns come from `metadata.jsonl` or `metadata.csv` (`file_name`, `text`,
    an optional `label`); without metadata each picture's folder is its class. Pictures come in the
    sorted order of their names. How one becomes a square: `melies.data.pixels.decode`.

    Args:
        source: Folder, zip, `shards-{0000..0009}.tar` (see `melies.data.shards`), or `hf:NAME` (through the
            package `datasets`, which may download).
        size: Side in pixels.
        channels: 3 for RGB, 1 for grey.
        background: RGB 0 … 255 under transparent pictures and beside padded ones.
        fit: "crop" fills the square, "pad" shows all of the picture, "exact" refuses any other size.
        split: Which of the folders `train/`, `test/`, … to read; "train" where None and there are such.
        limit: Read at most this many, spread evenly over the sorted names.
        max_bytes: Refuse a set whose pixels need more; half of the free memory where None.
        keep: Of a folder or zip, the names of pictures to look at; the others might not be there.
        progress: Where to show it.

    Raises:
        UserError: For anything wrong with the source, naming the file and the line.
    """
    check_size(size, channels)
    if limit is not None and limit < 1:
        raise UserError(f"limit = {limit} leaves no pictures", remedy="give at least 1")
    shape = (channels, size, size)
    options = {"size": size, "channels": channels, "background": background, "fit": fit}
    if str(source).startswith("hf:"):
        from melies.data.hub import read_hub

        return read_hub(
            str(source)[3:], split=split, limit=limit, max_bytes=max_bytes, progress=progress, options=options
        )
    with open_files(source) as files:
        known = known_pictures(files, split=split, limit=limit, keep=keep)
        pictures = known.names
        pixels = allocate(len(pictures), shape, max_bytes, str(source))
        sizes = torch.empty(len(pictures), 2, dtype=torch.int64)

        def fill(index: int) -> None:
            name = pictures[index]
            data = files.read(name, max_bytes=MAX_PICTURE_BYTES)
            found = decode(data, **options, where=files.where(name))
            pixels[index] = torch.from_numpy(found.square)
            sizes[index] = torch.tensor(found.stored)

        fill_all(fill, len(pictures), progress)
        return ImageSet(pixels=pixels, sizes=sizes, **known._asdict())


class Known(NamedTuple):
    """What is known of pictures before any is decoded; see `ImageSet`."""

    texts: tuple[str, ...] | None
    labels: Tensor | None
    classes: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    names: tuple[str, ...]


def known_pictures(
    files: Files,
    *,
    split: str | None = None,
    limit: int | None = None,
    keep: Callable[[str], bool] | None = None,
) -> Known:
    """Names, captions, classes and columns of the pictures among files; the arguments are of `read_images`.

    Raises:
        UserError: As `read_images` does, but for what only decoding shows.
    """
    pictures = [name for name in picture_names(files) if keep is None or keep(name)]
    if not pictures:
        raise UserError("holds none of the pictures that are needed", where=str(files.source))
    rows = _rows(files, frozenset(pictures))
    label_of, classes = _labels(pictures, rows)  # over all splits, so that labels mean the same in each
    pictures = spread(in_split(pictures, split, str(files.source)), limit)
    chosen = [rows[name] for name in pictures] if rows else []
    return Known(
        texts=check_texts(chosen),
        labels=torch.tensor([label_of[name] for name in pictures]) if classes else None,
        classes=classes,
        rows=tuple(row.columns for row in chosen) if rows else ({},) * len(pictures),
        names=tuple(pictures),
    )


def said_sizes(pictures: ImageSet) -> str:
    """What became of pictures that were stored at other sizes, in one sentence; empty where none was."""
    if pictures.sizes is None or not len(pictures):
        return ""
    side = pictures.pixels.shape[-1]
    changed = pictures.sizes[(pictures.sizes != side).any(1)]
    if not len(changed):
        return ""
    small, large = (changed[int(at)].tolist() for at in (changed.prod(1).argmin(), changed.prod(1).argmax()))
    found = " to ".join(dict.fromkeys(f"{width}×{height}" for width, height in (small, large)))
    cut = "cut to a square and " if bool((changed[:, 0] != changed[:, 1]).any()) else ""
    return f"{len(changed):,} of {len(pictures):,} pictures are {found} pixels: {cut}resized to {side}×{side}"


def picture_names(files: Files) -> list[str]:
    """The names of the pictures among files, sorted.

    Raises:
        UserError: If there is none.
    """
    pictures = [name for name in files.names if name.lower().endswith(SUFFIXES)]
    if not pictures:
        raise UserError(
            "holds no pictures",
            where=str(files.source),
            remedy=f"put files in it ending in {', '.join(SUFFIXES)}",
        )
    return pictures


def in_split(pictures: Sequence[str], split: str | None, where: str) -> list[str]:
    """The pictures of one split, where the outermost folders are splits; all of them otherwise."""
    splits = splits_of(pictures)
    if not splits:
        if split is not None:
            raise UserError(
                f"has no split {split!r}: its folders are not {', '.join(SPLITS[:3])}",
                where=where,
                remedy="leave split out",
            )
        return list(pictures)
    if split is None and "train" not in splits and len(splits) == 1:
        split = next(iter(splits))
    chosen = choose(split or "train", sorted(splits), f"split of {where}")
    return [name for name in pictures if name.startswith(splits[chosen])]


def splits_of(pictures: Sequence[str]) -> dict[str, str]:
    """Split → the prefix of its pictures' names, where the outermost folders are splits; else empty."""
    common = posixpath.commonpath([posixpath.dirname(name) for name in pictures])
    if posixpath.basename(common) in SPLITS:  # only one split is there
        common = posixpath.dirname(common)
    root = f"{common}/" if common else ""
    tops = {name.removeprefix(root).split("/")[0] for name in pictures}
    return {top: f"{root}{top}/" for top in tops} if tops <= set(SPLITS) else {}


def spread(items: Sequence[str], limit: int | None) -> list[str]:
    """At most `limit` items at even distances, so that sorted classes all stay present."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[index * len(items) // limit] for index in range(limit)]


def allocate(count: int, shape: tuple[int, int, int], max_bytes: int | None, where: str) -> Tensor:
    """An uninitialised uint8 (count, *shape), once it is sure to fit.

    Raises:
        UserError: If it needs more than `max_bytes`; half of the free memory where None.
    """
    allowed = free_memory() // 2 if max_bytes is None else max_bytes
    need = count * shape[0] * shape[1] * shape[2]
    if need > allowed:
        raise UserError(
            f"{count:,} pictures of {shape[0]}×{shape[1]}×{shape[2]} need {need / 1e9:.3g} GB of memory, "
            f"and {allowed / 1e9:.3g} GB may be used",
            where=where,
            remedy=f"read at most {allowed // (need // count):,} (limit) or choose a smaller size",
        )
    return torch.empty((count, *shape), dtype=torch.uint8)


def free_memory() -> int:
    """Bytes that can be used without swapping: the lesser of the machine's and the container's."""
    free = []
    meminfo, limit = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free.append(int(line.split()[1]) * 1024)
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        free.append(max(int(text) - used, 0))
    if not free and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        free.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    return min(free, default=4 << 30)


def fill_all(fill, count: int, progress: Progress) -> None:
    """Call `fill(index)` for every index on a few threads (Pillow decodes outside Python's lock).

    The first failure, in order, ends it; those not yet begun are dropped.
    """
    with progress("reading pictures", total=count, unit="picture") as track:
        workers = min(8, os.cpu_count() or 1)
        with ThreadPoolExecutor(workers) as pool:
            try:
                # A block at a time keeps the queue, and the work thrown away on failure, small.
                for start in range(0, count, 1024):
                    block = range(start, min(start + 1024, count))
                    for _ in pool.map(fill, block):
                        track.advance()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def _rows(files: Files, pictures: frozenset[str]) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    metadata = metadata_files(files)
    if files.spans is not None and not metadata:
        beside = {name: columns_beside(files, name, files.sizes.keys()) for name in sorted(pictures)}
        known = {name: Row(columns, files.where(name)) for name, columns in beside.items()}
        return known if any(beside.values()) else {}
    for name in metadata:
        for picture, row in read_rows(files, name, pictures).items():
            if picture in rows:
                raise UserError(f"{picture!r} already has a row at {rows[picture].where}", where=row.where)
            rows[picture] = row
    if metadata:
        for picture in sorted(pictures - rows.keys()):
            raise UserError(
                f"has no row in {' or '.join(metadata)}",
                where=files.where(picture),
                remedy="add a row or remove it",
            )
    return rows


def _labels(pictures: Sequence[str], rows: Mapping[str, Row]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Picture → label, and the class names; both empty where there are no classes."""
    if rows:
        values = _label_column([rows[name] for name in pictures])
    else:
        values = [posixpath.basename(posixpath.dirname(name)) for name in pictures]
    classes = sorted(set(values))
    # One folder of pictures is a set without classes, and so are folders that only split it.
    if not values or (not rows and (len(classes) < 2 or set(classes) <= set(SPLITS))):
        return {}, ()
    place = {value: index for index, value in enumerate(classes)}
    return {name: place[value] for name, value in zip(pictures, values, strict=True)}, tuple(
        map(str, classes)
    )


def _label_column(rows: Sequence[Row]) -> list[Any]:
    if not any("label" in row.columns for row in rows):
        return []
    values = []
    for row in rows:
        value = row.columns.get("label")
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise UserError("'label' is neither a word nor a whole number", where=row.where)
        values.append(value)
    if len({type(value) for value in values}) > 1:
        raise UserError("'label' mixes words and numbers", where=rows[0].where)
    return values
