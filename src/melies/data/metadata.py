"""Reading `metadata.jsonl` and `metadata.csv` of an imagefolder: one row per picture."""

import csv
import io
import json
import posixpath
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from melies.data.archive import Files, safe_name
from melies.errors import UserError

METADATA_NAMES = ("metadata.jsonl", "metadata.csv")
MAX_METADATA_BYTES = 512 << 20


class Row(NamedTuple):
    """One row, and the place to name when something is wrong with it."""

    columns: Mapping[str, Any]
    where: str
    """File and line."""


def metadata_files(files: Files) -> tuple[str, ...]:
    """The names of all metadata files in a source.

    Raises:
        UserError: If one folder has both kinds.
    """
    found = tuple(name for name in files.names if posixpath.basename(name) in METADATA_NAMES)
    folders = [posixpath.dirname(name) for name in found]
    for folder in folders:
        if folders.count(folder) > 1:
            raise UserError(
                "has both metadata.jsonl and metadata.csv",
                where=files.where(folder or "."),
                remedy="keep one of them",
            )
    return found


def read_rows(files: Files, metadata: str, pictures: Collection[str]) -> dict[str, Row]:
    """Picture name (from the root of the source) → its row.

    `file_name` in a row is relative to the folder of its metadata file.

    Args:
        files: The source.
        metadata: Name of one metadata file in it.
        pictures: The names of all pictures in the source.

    Raises:
        UserError: Naming file and line, for a line that is no JSON object or CSV row, a row without
            `file_name`, one that points outside or at no picture, or two rows for one picture.
    """
    text = _text(files, metadata)
    lines = (
        _jsonl(text, files.where(metadata))
        if metadata.endswith(".jsonl")
        else _csv(text, files.where(metadata))
    )
    folder = posixpath.dirname(metadata)
    rows: dict[str, Row] = {}
    for row in lines:
        file_name = row.columns.get("file_name")
        if not isinstance(file_name, str) or not file_name:
            raise UserError(
                "the row has no file_name", where=row.where, remedy="add the picture's relative path"
            )
        if not safe_name(file_name):
            raise UserError(f"file_name {file_name!r} points outside the folder", where=row.where)
        name = posixpath.normpath(posixpath.join(folder, file_name.replace("\\", "/")))
        if name not in pictures:
            raise UserError(
                f"there is no picture {file_name!r}", where=row.where, remedy="add the file or remove the row"
            )
        if name in rows:
            raise UserError(f"{file_name!r} already has a row at {rows[name].where}", where=row.where)
        rows[name] = row
    return rows


def check_texts(rows: Collection[Row], column: str = "text") -> tuple[str, ...] | None:
    """The captions of all rows; None when no row has the column.

    Raises:
        UserError: Naming file and line of the first row without a caption, or with an empty one.
    """
    if not any(column in row.columns for row in rows):
        return None
    texts = []
    for row in rows:
        text = row.columns.get(column)
        if not isinstance(text, str) or not text.strip():
            what = (
                f"{column!r} is empty"
                if text in ("", None) or isinstance(text, str)
                else f"{column!r} is no text"
            )
            raise UserError(what, where=row.where, remedy="write a caption or remove row and picture")
        texts.append(text.strip())
    return tuple(texts)


def _text(files: Files, name: str) -> str:
    try:
        return files.read(name, max_bytes=MAX_METADATA_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(
            "is not UTF-8", where=f"{files.where(name)} line {line}", remedy="save it as UTF-8"
        ) from None


def _jsonl(text: str, where: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{where} line {number}"
        try:
            columns = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", "nested too deeply")
            raise UserError(
                f"is not JSON ({reason})", where=place, remedy="write one JSON object per line"
            ) from None
        if not isinstance(columns, dict):
            raise UserError("is not a JSON object", where=place, remedy='write {"file_name": …, "text": …}')
        yield Row(columns, place)


def _csv(text: str, where: str) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for columns in reader:
            place = f"{where} line {reader.line_num}"
            if None in columns or None in columns.values():
                raise UserError(
                    f"has {'more' if None in columns else 'fewer'} cells than the header",
                    where=place,
                    remedy="put texts that hold a comma in double quotes",
                )
            yield Row(columns, place)
    except csv.Error as error:
        raise UserError(f"is not CSV ({error})", where=f"{where} line {reader.line_num}") from None
