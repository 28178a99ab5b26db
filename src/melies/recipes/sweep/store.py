"""Where a sweep keeps what is done: one line of JSON per cell, and beside it what cells are compared by."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save as tensor_bytes
from torch import Tensor

from melies.checkpoint import read_tensors
from melies.config import to_json
from melies.errors import UserError
from melies.files import read_text, write_bytes, write_text

FORMAT = 1
ROWS, PLAN, CELLS = "cells.jsonl", "plan.json", "cells"


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add one line in one write that is on the disk when this returns.

    Raises:
        UserError: If the file cannot be written.
    """
    line = (json.dumps(to_json(row), ensure_ascii=False, allow_nan=False) + "\n").encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            file.write(line)
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror or error}", where=str(path)) from None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; a last line that a crash cut short is taken off the file.

    Raises:
        UserError: If another line is no JSON object.
    """
    if not path.exists():
        return []
    text, rows = read_text(path, limit=256 << 20), []
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif number == len(lines) and not text.endswith("\n"):
            break
        else:
            raise UserError("not a row of results", where=f"{path}, line {number}")
    if text and not text.endswith("\n"):
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return rows


def write_tensors(folder: Path, key: str, tensors: Mapping[str, Tensor]) -> Path:
    """Keep the tensors of a cell."""
    data = tensor_bytes({name: tensor.contiguous() for name, tensor in tensors.items()})
    return write_bytes(folder / CELLS / f"{key}.safetensors", data)


def read_cell(folder: Path, key: str) -> dict[str, Tensor]:
    """The tensors of a cell.

    Raises:
        UserError: If the file is missing or damaged.
    """
    return read_tensors(folder / CELLS / f"{key}.safetensors")


def write_plan(folder: Path, settings: Any, fingerprint: str) -> Path:
    """Say what a folder holds."""
    content = {"format": FORMAT, "fingerprint": fingerprint, "settings": to_json(settings)}
    return write_text(folder / PLAN, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def check_plan(
    folder: Path, settings: Any, fingerprint: str, *, free: Sequence[str], resume: bool, what: str
) -> None:
    """Refuse to go on in a folder with other results, or to begin in one with any.

    Args:
        folder: Where results go.
        settings: What is asked for now.
        fingerprint: Of what decides the numbers.
        free: Settings that may have changed.
        resume: Whether to go on with what is there.
        what: What the results are, for errors.

    Raises:
        UserError: Naming the setting that differs.
    """
    path = folder / PLAN
    if not path.exists():
        return
    if not resume:
        raise UserError(
            f"the folder already holds a {what}",
            where=str(folder),
            remedy="add --resume, or another --out",
        )
    try:
        content = json.loads(read_text(path))
        written, known = dict(content["settings"]), content["fingerprint"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"not the plan of a {what}: {error}", where=str(path)) from None
    if known == fingerprint:
        return
    asked = to_json(settings)
    differs = [name for name in asked if name not in free and written.get(name) != asked[name]]
    said = "had other weights or pictures"
    if differs:
        said = f"has {differs[0]} = {written.get(differs[0])}, and not {asked[differs[0]]}"
    raise UserError(
        f"the {what} there {said}",
        where=str(folder),
        remedy="give the same options with --resume, or another --out",
    )
