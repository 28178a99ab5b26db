"""Rows of numbers in a text, with errors that say which line is wrong."""

import numpy as np
import orjson
from jaxtyping import Float64
from numpy import ndarray

from melies.errors import UserError

LIMIT = 64 * 2**20
"""Most bytes of a text that is read as a path."""
MAX_ROWS = 1_000_000


def read_rows(
    text: str, counts: tuple[int, ...], *, where: str, separators: str = ",;\t", first_line: int = 1
) -> Float64[ndarray, "n k"]:
    """Numbers from lines of k of them; empty lines and those that begin with # are left out.

    Args:
        text: The file.
        counts: How many numbers a line may have; all lines the same.
        where: The file's name, for errors.
        separators: What stands between numbers besides blanks.
        first_line: Number of the text's first line in its file, for errors.

    Raises:
        UserError: If a line has another count or something that is no number, or there is no line.
    """
    rows: list[list[float]] = []
    table = str.maketrans(dict.fromkeys(separators, " "))
    lines = [
        (number, line)
        for number, line in enumerate(text.splitlines(), start=first_line)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    cut = [line.translate(table) for _, line in lines]
    if 0 < len(lines) <= MAX_ROWS and all(map(str.strip, cut)):
        try:  # all at once; what is wrong, and in which line, is found out below
            found = np.loadtxt(cut, comments=None, ndmin=2)
        except ValueError:
            pass
        else:
            if found.shape[1] in counts:
                return found
    for (number, line), numbers in zip(lines, cut, strict=True):
        cells = numbers.split()
        if len(cells) not in counts or (rows and len(cells) != len(rows[0])):
            expected = f"{len(rows[0])} as before" if rows else " or ".join(map(str, counts))
            raise UserError(f"line {number} has {len(cells)} numbers, not {expected}", where=where)
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError:
            raise UserError(f"line {number} is not all numbers: {line.strip()[:60]!r}", where=where) from None
        if len(rows) > MAX_ROWS:
            raise UserError(f"more than {MAX_ROWS:,} lines", where=where)
    if not rows:
        raise UserError("there is no pose in it", where=where)
    return np.array(rows, np.float64)


def lines_of(rows: Float64[ndarray, "n k"], separator: str = " ") -> str:
    """One row a line, each number as short as it can be and with all its digits.

    A library of JSON writes them, ten times as fast as Python; not finite numbers are not for it.
    """
    listed = orjson.dumps(np.ascontiguousarray(rows), option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return listed[2:-2].replace("],[", "\n").replace(",", separator) + "\n"
