"""A folder, a zip or shards seen as one flat, read-only collection of named files, with the dangers refused.

Nothing is ever extracted: files are read one at a time, in memory, each within a size limit.
"""

import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from melies.data.shards import Span, shard_paths, spans_of
from melies.errors import UserError

MAX_ENTRIES = 2_000_000
MAX_FILE_BYTES = 1 << 30
MAX_TOTAL_BYTES = 1 << 40
MAX_RATIO = 200.0
"""Unpacked over packed size; PNG and JPEG do not shrink, JSON by about 20."""
RATIO_FREE_BYTES = 16 << 20
"""Below this size a high ratio does no harm (an empty drawing as BMP packs to nothing)."""

_ZIP_ERRORS = (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, ValueError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What lies in a source: names with `/`, relative to its root, in sorted order."""

    source: Path
    sizes: Mapping[str, int]
    """Name → size in bytes, unpacked."""
    archive: zipfile.ZipFile | None = None
    """The open zip; None for a folder or shards."""
    spans: Mapping[str, Span] | None = None
    """Of shards: where each file lies."""

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(self.sizes)

    def where(self, name: str) -> str:
        """How a message calls one of the files."""
        if self.spans is not None and name in self.spans:
            return f"{self.spans[name].shard}: {name}"
        return f"{self.source}: {name}" if self.archive else str(self.source / name)

    def read(self, name: str, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """The content of one file; safe to call from several threads.

        Raises:
            UserError: If the file is larger than `max_bytes`, damaged, or cannot be read.
        """
        if self.sizes[name] > max_bytes:
            raise UserError(
                f"{self.sizes[name]:,} bytes is more than the {max_bytes:,} allowed for one file",
                where=self.where(name),
                remedy="remove it or make it smaller",
            )
        try:
            if self.spans is not None:
                span = self.spans[name]
                with span.shard.open("rb") as file:
                    file.seek(span.offset)
                    return file.read(span.size)
            if self.archive is None:
                with (self.source / name).open("rb") as file:
                    return file.read(max_bytes)
            return self.archive.read(name)
        except Exception as error:
            if not isinstance(error, (*_ZIP_ERRORS, _zlib_error())):
                raise
            raise UserError(
                f"cannot be read ({_short(error)})",
                where=self.where(name),
                remedy="copy or download it again",
            ) from None


@contextmanager
def open_files(source: str | Path) -> Iterator[Files]:
    """The files of a folder, a zip or shards (`data-{0000..0009}.tar`), while the `with` block lasts.

    Hidden files and what macOS adds (`.x`, `__MACOSX/`) are left out. Folders that are links are not
    entered, so that a loop of links ends.

    Raises:
        UserError: If there is nothing at `source`, it is neither a folder nor a zip, the zip is
            damaged or encrypted, one holds a name twice, an absolute name, one with `..`, a link, or
            unpacks to far more than its size (a zip bomb).
    """
    source = Path(source).expanduser()
    if source.is_dir():
        yield Files(source=source, sizes=_folder_sizes(source))
        return
    if shards := shard_paths(source):
        spans = _spans(source, shards)
        sizes = {name: span.size for name, span in spans.items()}
        yield Files(source=source, sizes=sizes, spans=spans)
        return
    if not source.exists():
        raise UserError("there is no such file or folder", where=str(source))
    try:
        archive = zipfile.ZipFile(source)
    except _ZIP_ERRORS as error:
        raise UserError(
            f"is neither a folder nor a readable zip ({_short(error)})",
            where=str(source),
            remedy="give a folder of pictures or a .zip of one",
        ) from None
    with archive:
        yield Files(source=source, sizes=_zip_sizes(source, archive), archive=archive)


def safe_name(name: str) -> bool:
    """Whether a name from an archive stays below the folder that it is read in."""
    path = PurePosixPath(name.replace("\\", "/"))
    return not (
        path.is_absolute() or ".." in path.parts or "\0" in name or (name[1:2] == ":" and name[0].isalpha())
    )


def _hidden(name: str) -> bool:
    parts = name.split("/")
    return parts[0] == "__MACOSX" or any(part.startswith(".") and part != "." for part in parts)


def _folder_sizes(folder: Path) -> dict[str, int]:
    sizes = {}
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__MACOSX"]
        for file in files:
            path = Path(root) / file
            name = path.relative_to(folder).as_posix()
            if not _hidden(name) and path.is_file():
                sizes[name] = path.stat().st_size
        if len(sizes) > MAX_ENTRIES:
            raise UserError(f"holds more than {MAX_ENTRIES:,} files", where=str(folder))
    return dict(sorted(sizes.items()))


def _zip_sizes(source: Path, archive: zipfile.ZipFile) -> dict[str, int]:
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise UserError(f"holds {len(entries):,} entries, more than {MAX_ENTRIES:,}", where=str(source))
    sizes: dict[str, int] = {}
    for entry in entries:
        name, where = entry.filename, f"{source}: {entry.filename!r}"
        if not safe_name(name):
            raise UserError(
                "is a name outside the archive (absolute or with '..')",
                where=where,
                remedy="do not trust this file",
            )
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise UserError("is a link, which an archive of pictures must not hold", where=where)
        if entry.is_dir() or _hidden(name):
            continue
        if name in sizes:
            raise UserError(
                "this name is in the zip twice", where=where, remedy="pack it again from a folder"
            )
        if entry.flag_bits & 1:
            raise UserError(
                "is encrypted", where=where, remedy="unpack it with its password and give the folder"
            )
        if entry.file_size > RATIO_FREE_BYTES and entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
            raise _bomb(where, entry.file_size, entry.compress_size)
        sizes[name] = entry.file_size
    total, packed = sum(sizes.values()), source.stat().st_size
    # Entries may overlap, so the whole is held against the size of the file itself.
    if total > MAX_TOTAL_BYTES or (total > RATIO_FREE_BYTES and total > MAX_RATIO * packed):
        raise _bomb(str(source), total, packed)
    return dict(sorted(sizes.items()))


def _spans(source: Path, shards: tuple[Path, ...]) -> dict[str, Span]:
    spans: dict[str, Span] = {}
    for shard in shards:
        for name, span in spans_of(shard):
            where = f"{shard}: {name!r}"
            if not safe_name(name):
                raise UserError(
                    "is a name outside the archive (absolute or with '..')",
                    where=where,
                    remedy="do not trust this file",
                )
            if _hidden(name):
                continue
            if name in spans:
                raise UserError(f"this name is in {spans[name].shard} too", where=where)
            spans[name] = span
            if len(spans) > MAX_ENTRIES:
                raise UserError(f"holds more than {MAX_ENTRIES:,} files", where=str(source))
    return dict(sorted(spans.items()))


def _bomb(where: str, size: int, packed: int) -> UserError:
    return UserError(
        f"unpacks from {packed:,} to {size:,} bytes, which looks like a zip bomb",
        where=where,
        remedy="if you trust it, unpack it yourself and give the folder",
    )


def _zlib_error() -> type[Exception]:
    import zlib

    return zlib.error


def _short(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "…"
