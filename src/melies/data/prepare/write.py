"""Writing a data set as one zip: all of it or nothing, and the same bytes from the same pictures."""

import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from melies.errors import UserError
from melies.files import replacing

_DATE = (2020, 1, 1, 0, 0, 0)  # fixed, so that equal content makes an equal file


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A data set that was written."""

    path: Path
    num_pictures: int
    source: str
    """Where the pictures came from, in words."""


def check_output(out: Path, file: str) -> Path:
    """The zip to write: `out`, or `file` in it where `out` is a folder.

    Raises:
        UserError: If it is there already, or its name does not end in `.zip`.
    """
    out = out.expanduser()
    out = out / file if out.is_dir() else out
    if out.suffix != ".zip":
        raise UserError(
            "the name of a data set ends in .zip", where=str(out), remedy=f"for example {out.name}.zip"
        )
    if out.exists():
        raise UserError("is there already", where=str(out), remedy="remove it, or give another --out")
    return out


def write_zip(out: Path, entries: Iterable[tuple[str, bytes]]) -> int:
    """Write named files to a zip under a temporary name, then rename it; how many were written.

    Pictures are stored as they are (they are compressed already), text is deflated.

    Raises:
        UserError: If the disk is full or the folder cannot be written; nothing is left behind then.
    """
    count = 0
    with (
        replacing(out, remedy="make room, or give another --out") as file,
        zipfile.ZipFile(file, "w") as archive,
    ):
        for name, data in entries:
            info = zipfile.ZipInfo(name, _DATE)
            info.external_attr = 0o644 << 16
            info.compress_type = (
                zipfile.ZIP_DEFLATED if name.endswith((".jsonl", ".csv")) else zipfile.ZIP_STORED
            )
            archive.writestr(info, data)
            count += 1
    return count


def png(pixels: np.ndarray) -> bytes:
    """A uint8 picture (h, w) or (h, w, 3) as PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
