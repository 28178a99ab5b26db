"""The handwritten digits of scikit-learn: 1,797 grey pictures, 8×8, ten classes.

They are the test part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak 1998,
CC BY 4.0) and come with the package, so that nothing is fetched.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from melies.data.places import FILES
from melies.data.prepare.write import Prepared, check_output, png, write_zip
from melies.errors import UserError
from melies.optional import require
from melies.progress import Progress, silent

LEVELS = 16
"""A pixel counts the dark dots, 0 … 16, in a 4×4 square of the scan."""

TEST_EVERY = 5
"""Of each class every fifth picture, in the order of the package, is for testing: 355 of the 1,797."""


def prepare_digits(out: Path, *, source: str | Path | None = None, progress: Progress = silent) -> Prepared:
    """Write the digits as `train/<digit>/*.png` and `test/<digit>/*.png`.

    The levels 0 … 16 become 0 … 255. The same writers are in both parts.

    Args:
        out: The zip to write, or the folder to write `digits.zip` into.
        source: None: the package is the only source.
        progress: Shows the writing.

    Raises:
        UserError: If a source is given, scikit-learn is not installed, or `out` is there already or cannot
            be written.
    """
    if source is not None:
        raise UserError("the digits come with scikit-learn", where=str(source), remedy="leave out --from")
    out = check_output(Path(out), FILES["digits"])
    require("sklearn", extra="eval", why="the digits")
    from sklearn.datasets import load_digits

    digits: Any = load_digits()  # a Bunch, which the stubs do not know
    pictures = np.round(digits.images * (255 / LEVELS)).astype(np.uint8)
    counts: Counter[int] = Counter()
    with progress("writing pictures", total=len(pictures), unit="picture") as track:

        def entries() -> Iterator[tuple[str, bytes]]:
            for picture, label in zip(pictures, digits.target.tolist(), strict=True):
                split = "test" if counts[label] % TEST_EVERY == TEST_EVERY - 1 else "train"
                yield f"{split}/{label}/{counts[label]:03d}.png", png(picture)
                counts[label] += 1
                track.advance()

        count = write_zip(out, entries())
    return Prepared(path=out, num_pictures=count, source="scikit-learn")
