"""JSON documents of others: numbers out of them, with errors that say where they are wrong, and back."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from jaxtyping import Float64
from numpy import ndarray

from melies.camera.formats.rows import LIMIT, MAX_ROWS
from melies.errors import UserError
from melies.files import read_text


def read_json(file: Path) -> Any:
    """The document in a file.

    Raises:
        UserError: If it cannot be read, is too large, or is no JSON; the line is named.
    """
    try:
        return json.loads(read_text(file, limit=LIMIT))
    except json.JSONDecodeError as error:
        raise UserError(f"no JSON: line {error.lineno}: {error.msg}", where=str(file)) from None
    except (ValueError, RecursionError) as error:  # of numbers with too many digits, and nested too deep
        raise UserError(f"no JSON: {error}", where=str(file)) from None


def json_bytes(document: Mapping[str, Any], name: str, items: Sequence[Mapping[str, Any]]) -> bytes:
    """A document with a list `name` at its end, of one object a line; arrays are lists there."""
    head = json.dumps(document, indent=1).removesuffix("\n}")
    lines = b",\n  ".join(orjson.dumps(item, option=orjson.OPT_SERIALIZE_NUMPY) for item in items)
    return f'{head},\n "{name}": [\n  '.encode() + lines + b"\n ]\n}\n"


def items_of(document: Any, name: str, *, where: str) -> list[Mapping[str, Any]]:
    """The objects in the list `name`.

    Raises:
        UserError: If there is no such list, it is empty or too long, or it holds something else.
    """
    items = document.get(name) if isinstance(document, Mapping) else None
    if not isinstance(items, list) or not items or len(items) > MAX_ROWS:
        raise UserError(f"there is no list of poses in {name!r}", where=where)
    for index, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise UserError(f"{name}[{index}] is no object", where=where)
    return items


def number_of(item: Mapping[str, Any], name: str, *, where: str) -> float | None:
    """The number in a field, or None where the field is not there.

    Raises:
        UserError: If it is no finite number.
    """
    value = item.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
        raise UserError(f"{name} = {value!r} is no number", where=where)
    return float(value)


def matrix_of(value: Any, shape: tuple[int, ...], *, where: str) -> Float64[ndarray, "..."]:
    """Numbers in lists, flat or nested, as an array of `shape`.

    Raises:
        UserError: If they are not so many finite numbers.
    """
    try:
        found = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        found = np.array([])
    if found.size != np.prod(shape) or not np.isfinite(found).all():
        raise UserError(f"not {' × '.join(map(str, shape))} numbers", where=where)
    return found.reshape(shape)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
