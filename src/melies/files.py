"""Small files read with a limit, and files that are written whole or not at all."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from melies.errors import UserError


@contextmanager
def replacing(path: Path, *, remedy: str = "") -> Iterator[BinaryIO]:
    """An open file that takes the place of `path` when the block ends well, and is removed when not.

    It has a temporary name in the same folder, which is made if need be, and is on the disk before
    it is renamed: a reader sees the old file or the new one.

    Args:
        path: The file to write.
        remedy: What to do about a folder that cannot be written, for the message.

    Raises:
        UserError: If the disk is full or the folder cannot be written; an earlier file is intact.
    """
    fresh = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.tmp")
    try:
        if path.parent.is_file():
            raise UserError("is a file, and a folder is needed", where=str(path.parent), remedy=remedy)
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}"
        raise UserError(what, where=str(path), remedy=remedy) from None
    finally:
        with suppress(OSError):  # the folder went away, and the file with it
            fresh.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> Path:
    """Write a file as `replacing` does.

    Raises:
        UserError: If the disk is full or the folder cannot be written; an earlier file is intact.
    """
    with replacing(path) as file:
        file.write(data)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text in the same way, line ends as they are."""
    return write_bytes(path, text.encode("utf-8"))


def read_text(path: Path, *, limit: int = 16 * 2**20) -> str:
    """The text of a UTF-8 file of at most `limit` bytes, line ends as they are.

    Raises:
        UserError: If it cannot be read, is larger, or is no UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}", where=str(path)) from None
    if len(data) > limit:
        raise UserError(f"larger than {limit / 2**20:g} MiB", where=str(path))
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise UserError("not a UTF-8 text file", where=str(path)) from None


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_path(path: Path, data: bytes | None = None) -> Path:
    """`path`, or `path-2`, `path-3` …: the first that is free or already holds exactly `data`."""
    candidate, number = path, 1
    while candidate.exists() and (data is None or candidate.read_bytes() != data):
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate
