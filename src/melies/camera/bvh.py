"""The way of the root in a BVH file: motion capture as Biovision wrote it.

The file is a hierarchy of joints with their channels, then a row of numbers a frame. Only the root has a
place of its own; its y is up, and its unit is whatever it was captured in.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from melies.camera.formats.rows import LIMIT, MAX_ROWS
from melies.errors import UserError
from melies.files import read_text

PLACES = ("Xposition", "Yposition", "Zposition")


def read_root(file: Path) -> tuple[Float64[ndarray, " n"], Float64[ndarray, "n 3"]]:
    """Seconds and places of the root, in the axes and units of the file: x right, y up, z towards the viewer.

    Raises:
        UserError: If it cannot be read, is no BVH, or has other rows than it says; the line is named.
    """
    lines = read_text(file, limit=LIMIT).splitlines()
    where = str(file)
    if not lines or lines[0].strip().upper() != "HIERARCHY":
        raise UserError("no BVH: it does not begin with HIERARCHY", where=where)
    columns, total, number = None, 0, 0
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        if words[0].upper() == "MOTION":
            break
        try:
            if words[0].upper() == "CHANNELS":
                names = words[2 : 2 + int(words[1])]
                if len(names) != int(words[1]):
                    raise ValueError
                if columns is None:
                    columns = [names.index(name) for name in PLACES]
                total += len(names)
        except (ValueError, IndexError):
            raise UserError(
                f"line {number}: {line.strip()[:60]!r} is no part of a BVH", where=where
            ) from None
    if columns is None:
        raise UserError("its root has no place", where=where)
    count, step, first = _head(lines, number, where)
    rows = []
    for index, line in enumerate(lines[first : first + count]):
        words = line.split()
        try:
            if len(words) != total:
                raise ValueError
            rows.append([float(words[column]) for column in columns])
        except ValueError:
            raise UserError(f"line {first + index + 1} is not {total} numbers", where=where) from None
    if len(rows) != count:
        raise UserError(f"it says {count} frames and has {len(rows)}", where=where)
    places = np.array(rows)
    if not np.isfinite(places).all():
        raise UserError("a place that is not finite", where=where)
    return np.arange(count) * step, places


def _head(lines: list[str], motion: int, where: str) -> tuple[int, float, int]:
    """Frames, seconds a frame, and the index of the first row, from what stands behind MOTION."""
    found: dict[str, float] = {}
    for index in range(motion, min(motion + 10, len(lines))):
        name, separator, value = lines[index].partition(":")
        if not separator:
            continue
        try:
            found[name.strip().lower()] = float(value)
        except ValueError:
            raise UserError(f"line {index + 1}: {value.strip()!r} is no number", where=where) from None
        if {"frames", "frame time"} <= found.keys():
            count, step = found["frames"], found["frame time"]
            if not (1 <= count <= MAX_ROWS and count == int(count) and 0 < step < 60):
                raise UserError(f"{count:g} frames of {step:g} s", where=where)
            return int(count), step, index + 1
    raise UserError("it says no frames and no frame time", where=where)
