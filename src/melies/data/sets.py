"""Whole sets of pictures, checked for what training would stumble over hours later."""

import posixpath
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from melies.data.archive import open_files
from melies.data.hub import hub_splits
from melies.data.images import (
    MAX_PICTURE_BYTES,
    SPLITS,
    ImageSet,
    in_split,
    picture_names,
    read_images,
    said_sizes,
    splits_of,
)
from melies.data.pixels import open_picture
from melies.data.splits import split_by_hash
from melies.errors import UserError
from melies.progress import Progress, silent

MODULUS = 10
"""One picture in this many is for testing, where a set has no part for it."""

_BLOCK = 1024


def read_set(
    source: str | Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    classes: bool = True,
    split: str | None = None,
    limit: int | None = None,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda line: None,
) -> ImageSet:
    """The pictures of a source as `read_images` finds them, of one size and one kind.

    Args:
        source: Folder, zip, or `hf:NAME`.
        size: Side in pixels, to which pictures are cropped and resized; None: their own, which all share.
        channels: 3 for colour, 1 for grey; None: grey where no picture has any colour.
        classes: Whether at least two classes are needed.
        split: Which of the folders `train/`, `test/`, … to read.
        limit: Read at most this many.
        progress: Shows the reading.
        say: Told how many pictures were of another size.

    Raises:
        UserError: If there are no pictures, of mixed sizes where none is given, all grey where colour is
            expected, or without the classes that are needed; and as `read_images` does.
    """
    pictures = read_images(
        source,
        size=_own_size(source, split) if size is None else size,
        channels=3 if channels is None else channels,
        fit="exact" if size is None else "crop",
        split=split,
        limit=limit,
        progress=progress,
    )
    if classes:
        check_classes(pictures, str(source))
    if sentence := said_sizes(pictures):
        say(sentence)
    if channels == 1 or not _without_colour(pictures.pixels):
        return pictures
    if channels == 3:
        raise UserError(
            "all pictures are grey, and colour is expected",
            where=str(source),
            remedy="take a recipe for grey pictures, or set its channels to 1",
        )
    return ImageSet(**{**vars(pictures), "pixels": pictures.pixels[:, :1].contiguous()})


class Parts(NamedTuple):
    """One set in two parts, of the same classes."""

    train: ImageSet
    test: ImageSet
    """What no training sees; empty where a handful of pictures leaves nothing for it."""
    left_out: Mapping[str, int] | None
    """The rule of `split_by_hash` that the parts come from; None where the set has them itself."""


def read_parts(
    source: str | Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    classes: bool = True,
    remainder: int = 1,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda line: None,
) -> Parts:
    """The training and the test part of a set: its folders, or else a tenth of the pictures by their names.

    Args:
        source: As in `read_set`, and so are `size`, `channels` and `classes`.
        size: Side in pixels, or None.
        channels: 3, 1 or None.
        classes: Whether at least two classes are needed.
        remainder: Without such folders, pictures whose class and name have this hash modulo 10 are left out.
        progress: Shows the reading.
        say: Told how many pictures of the training part, or of all, were of another size.

    Raises:
        UserError: As `read_set` does.
    """
    train = read_set(source, size=size, channels=channels, classes=classes, progress=progress, say=say)
    held = held_split(source)
    if held is not None:
        test = read_images(
            source,
            size=train.pixels.shape[-1],
            channels=train.pixels.shape[1],
            fit="exact" if size is None else "crop",
            split=held,
            progress=progress,
        )
        return Parts(train, test, None)
    rule = {"modulus": MODULUS, "remainder": remainder}
    unseen = split_by_hash(["/".join(name.split("/")[-2:]) for name in train.names], **rule)
    return Parts(train.subset(~unseen), train.subset(unseen), rule)


def check_classes(pictures: ImageSet, where: str) -> None:
    """Refuse a set that has not at least two classes.

    Raises:
        UserError: Saying what was found instead.
    """
    if len(pictures.classes) > 1:
        return
    folders = sorted({posixpath.basename(posixpath.dirname(name)) for name in pictures.names} - {"", *SPLITS})
    named = pictures.classes or (tuple(folders) if len(folders) == 1 else ())
    raise UserError(
        f"all pictures are of one class, {named[0]!r}" if named else "the pictures have no classes",
        where=where,
        remedy="give each class a folder, or a column `label`, and at least two of them",
    )


def held_split(source: str | Path) -> str | None:
    """The split that is not trained on, of a set that has one beside its `train`; else None."""
    if str(source).startswith("hf:"):
        names = hub_splits(str(source)[3:])
    else:
        with open_files(source) as files:
            names = splits_of(picture_names(files))
    return next((name for name in SPLITS if name != "train" and name in names and "train" in names), None)


def _own_size(source: str | Path, split: str | None) -> int:
    """Side of the first picture."""
    if str(source).startswith("hf:"):
        raise UserError("a set of the hub is read at a size that is given", where=str(source))
    with open_files(source) as files:
        first = in_split(picture_names(files), split, str(source))[0]
        data = files.read(first, max_bytes=MAX_PICTURE_BYTES)
        width, height = open_picture(data, files.where(first)).size
    if width != height:
        raise UserError(
            f"is {width}×{height} pixels, and not a square",
            where=files.where(first),
            remedy="say at which size the pictures are to be read",
        )
    return width


def _without_colour(pixels: Tensor) -> bool:
    blocks = pixels.split(_BLOCK)
    return all(bool((block[:, 1:] == block[:, :1]).all()) for block in blocks)
