"""Files that are written whole or not at all."""

import os
from pathlib import Path

from melies.errors import UserError


def write_whole(path: Path, content: bytes | str) -> Path:
    """Write under a temporary name, sync, rename: a reader sees the old file or the new one.

    Raises:
        UserError: If the disk is full or the folder cannot be written; the old file is intact.
    """
    data = content.encode() if isinstance(content, str) else content
    fresh = path.with_name(f".{path.name}.writing-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror or error}", where=str(path)) from None
    finally:
        _remove(fresh)
    return path


def read_small(path: Path, *, limit: int = 16 * 2**20) -> str:
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


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # the folder went away, and the file with it
        return
