"""Fashion-MNIST (Xiao, Rasul & Vollgraf 2017, MIT): 70,000 grey pictures of clothing, 28×28, ten classes."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from melies.data.places import FILES
from melies.data.prepare.write import Prepared, check_output, png, write_zip
from melies.errors import UserError
from melies.progress import Progress, silent

CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle-boot",
)
"""By the original label, 0 … 9. In the zip they are folders, which are read in alphabetical order."""

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
MAX_BYTES = 256 << 20
_SPLITS = {"train": "train", "test": "t10k"}


def prepare_fashion_mnist(
    out: Path, *, source: str | Path | None = None, progress: Progress = silent
) -> Prepared:
    """Write Fashion-MNIST as `train/<class>/*.png` and `test/<class>/*.png`.

    Args:
        out: The zip to write, or the folder to write `fashion-mnist.zip` into.
        source: Folder with the four idx files, with or without `.gz`; None for where the Debian package
            `dataset-fashion-mnist` puts them.
        progress: Shows the writing.

    Raises:
        UserError: If a file is missing or damaged, or `out` is there already or cannot be written.
    """
    out = check_output(Path(out), FILES["fashion-mnist"])
    folder = DEBIAN_FOLDER if source is None else Path(source).expanduser()
    sets = {}
    for split, stem in _SPLITS.items():
        images = read_idx(_find(folder, f"{stem}-images-idx3-ubyte"), dimensions=3)
        labels = read_idx(_find(folder, f"{stem}-labels-idx1-ubyte"), dimensions=1)
        if len(images) != len(labels) or (len(labels) and labels.max() >= len(CLASSES)):
            raise UserError(f"the {split} pictures and labels do not belong together", where=str(folder))
        sets[split] = images, labels
    total = sum(len(labels) for _, labels in sets.values())
    with progress("writing pictures", total=total, unit="picture") as track:

        def entries() -> Iterator[tuple[str, bytes]]:
            for split, (images, labels) in sets.items():
                for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                    yield f"{split}/{CLASSES[label]}/{index:05d}.png", png(image)
                    track.advance()

        count = write_zip(out, entries())
    return Prepared(path=out, num_pictures=count, source=str(folder))


def read_idx(path: Path, *, dimensions: int) -> np.ndarray:
    """The bytes of an idx file (LeCun's format: 0, 0, type 8, rank, big-endian sizes, values).

    Raises:
        UserError: If it is no idx file of unsigned bytes of that rank, or cut short, or too large.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot be read ({error})", where=str(path), remedy="install it again") from None
    start = 4 + 4 * dimensions
    if len(data) > MAX_BYTES:
        raise UserError(f"unpacks to more than {MAX_BYTES:,} bytes", where=str(path))
    if len(data) < start or data[:4] != bytes((0, 0, 8, dimensions)):
        raise UserError(f"is no idx file of bytes with {dimensions} dimensions", where=str(path))
    shape = tuple(int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4))
    expected = int(np.prod(shape, dtype=object))
    if len(data) - start != expected:
        raise UserError(f"holds {len(data) - start:,} values, not {expected:,}", where=str(path))
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise UserError(
        f"there is no {name}.gz",
        where=str(folder),
        remedy="apt-get install dataset-fashion-mnist, or give the folder of the four idx files with --from",
    )
