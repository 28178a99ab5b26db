"""Tar files as WebDataset writes them: pictures whose captions and columns lie beside them under one key.

Only where each file lies is kept; a file is read from its place when it is asked for, so that the size of a
set is not bounded by memory. A sample is what shares a name up to the first dot: `0001.jpg`, `0001.txt` (its
caption), `0001.json` (columns) and `0001.cls` (its class).
"""

import json
import posixpath
import re
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from melies.errors import UserError

SUFFIX = ".tar"
MAX_SHARDS = 100_000
CAPTION, COLUMNS, CLASS = "txt", "json", "cls"
"""What follows the key in the names of files beside a picture."""
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


class Span(NamedTuple):
    """Where a file lies."""

    shard: Path
    offset: int
    size: int


def shard_paths(source: str | Path) -> tuple[Path, ...]:
    """The shards that a name such as `shards-{0000..0009}.tar` or `one.tar` stands for; none for other names.

    Raises:
        UserError: If the range is turned round or too long, or a shard is missing.
    """
    given = str(Path(source).expanduser())
    if not given.endswith(SUFFIX):
        return ()
    found = _RANGE.search(given)
    if found is None:
        names = [given]
    else:
        first, last = found[1], found[2]
        if not 0 <= int(last) - int(first) < MAX_SHARDS:
            raise UserError(f"{found[0]} is no range of up to {MAX_SHARDS:,} shards", where=given)
        width = len(first) if len(first) == len(last) else 0
        numbers = range(int(first), int(last) + 1)
        names = [f"{given[: found.start()]}{number:0{width}d}{given[found.end() :]}" for number in numbers]
    paths = tuple(Path(name) for name in names)
    for path in paths:
        if not path.is_file():
            raise UserError("there is no such shard", where=str(path), remedy="check the range in --data")
    return paths


def spans_of(shard: Path) -> Iterator[tuple[str, Span]]:
    """The files of a shard by name, and where they lie in it.

    Raises:
        UserError: If it is no plain tar, is cut short, or holds a link or another thing that is no file.
    """
    length = shard.stat().st_size
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                where = f"{shard}: {member.name!r}"
                if not member.isreg() or member.issparse():
                    raise UserError("is no plain file, which a shard must not hold", where=where)
                if member.offset_data + member.size > length:
                    raise UserError("the shard ends inside this file", where=where, remedy="copy it again")
                yield member.name.removeprefix("./"), Span(shard, member.offset_data, member.size)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"is no tar that can be read ({reason})", where=str(shard), remedy="shards are not compressed"
        ) from None


def key_of(name: str) -> str:
    """The key of a file's sample: its name up to the first dot after the last slash."""
    folder, base = posixpath.split(name)
    return posixpath.join(folder, base.partition(".")[0])


def columns_beside(files: Any, picture: str, names: Collection[str]) -> dict[str, Any]:
    """What the files of a picture's sample say: `text`, `label` and the columns of its JSON.

    Args:
        files: The `melies.data.archive.Files` of the shards.
        picture: The picture's name.
        names: Those of all files.

    Raises:
        UserError: Naming the file that is no text or no JSON object.
    """
    key, columns = key_of(picture), {}
    for ending in (COLUMNS, CAPTION, CLASS):
        name = f"{key}.{ending}"
        if name not in names:
            continue
        try:
            text = files.read(name, max_bytes=1 << 20).decode("utf-8").strip()
            if ending == COLUMNS:
                found = json.loads(text)
                if not isinstance(found, dict):
                    raise ValueError("it is no object")
                columns |= found
            elif ending == CAPTION:
                columns["text"] = text
            else:
                columns["label"] = int(text) if text.isdecimal() else text
        except (ValueError, RecursionError) as error:
            raise UserError(f"cannot be read: {error}", where=files.where(name)) from None
    return columns
