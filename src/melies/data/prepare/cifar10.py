"""CIFAR-10 (Krizhevsky 2009): 60,000 photographs, 32×32, ten classes; for research.

The original Python batches are pickles and are not read; the binary version has the same pictures.
"""

import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from melies.data.archive import Files, open_files
from melies.data.pixels import decode
from melies.data.places import FILES
from melies.data.prepare.write import Prepared, check_output, png, write_zip
from melies.errors import UserError
from melies.optional import installed, require
from melies.progress import Progress, silent

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""By the original label, 0 … 9, which is alphabetical order too."""

SIZE = 32
HUB_NAME = "uoft-cs/cifar10"
_RECORD = 1 + 3 * SIZE * SIZE
_BATCH = re.compile(r"(?:.*/)?(data_batch_[1-5]|test_batch)\.bin")
_MAX_BATCH_BYTES = 64 << 20
_PICTURE = re.compile(rf"(?:.*/)?(train|test)/({'|'.join(CLASSES)})/[^/]+\.(png|jpe?g)", re.IGNORECASE)


def prepare_cifar10(out: Path, *, source: str | Path | None = None, progress: Progress = silent) -> Prepared:
    """Write CIFAR-10 as `train/<class>/*` and `test/<class>/*`.

    Args:
        out: The zip to write, or the folder to write `cifar10.zip` into.
        source: `cifar-10-binary.tar.gz` or a folder with its `.bin` files; a zip or folder that is laid
            out as the result, which is checked and written anew; `hf:NAME`; None for the hub, where
            `datasets` is installed.
        progress: Shows the writing.

    Raises:
        UserError: If there is no source, it is broken, or `out` is there already or cannot be written.
    """
    out = check_output(Path(out), FILES["cifar10"])
    if source is None and not installed("datasets"):
        raise UserError(
            "CIFAR-10 has to come from somewhere",
            remedy="give its binary version with --from cifar-10-binary.tar.gz, or pip install 'melies[data]'"
            " to fetch it from the hub",
        )
    source = f"hf:{HUB_NAME}" if source is None else source
    if str(source).startswith("hf:"):
        count = _write(out, _hub_pictures(str(source)[3:]), 60_000, progress)
        return Prepared(path=out, num_pictures=count, source=str(source))
    path = Path(source).expanduser()
    if not path.exists():
        raise UserError("there is no such file or folder", where=str(path), remedy="check --from")
    if path.name.endswith((".tar.gz", ".tgz")):
        batches = list(_tar_batches(path))
    elif path.is_dir() and any(_BATCH.fullmatch(file.name) for file in path.iterdir()):
        batches = list(_folder_batches(path))
    else:
        with open_files(path) as files:
            names = _checked_names(files)
            count = _write(out, _checked_pictures(files, names), len(names), progress)
        return Prepared(path=out, num_pictures=count, source=str(path))
    if not batches:
        raise UserError("holds no data_batch_1.bin …", where=str(path), remedy="give the binary version")
    total = sum(len(data) // _RECORD for _, data in batches)
    count = _write(out, _numbered(_batch_pictures(batches, str(path))), total, progress)
    return Prepared(path=out, num_pictures=count, source=str(path))


def _write(out: Path, pictures: Iterable[tuple[str, bytes]], total: int, progress: Progress) -> int:
    with progress("writing pictures", total=total, unit="picture") as track:

        def entries() -> Iterator[tuple[str, bytes]]:
            for entry in pictures:
                yield entry
                track.advance()

        return write_zip(out, entries())


def _numbered(pictures: Iterable[tuple[str, int, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Name each PNG by its split, its class and its place among them."""
    counts: dict[tuple[str, int], int] = {}
    for split, label, data in pictures:
        place = counts.get((split, label), 0)
        counts[split, label] = place + 1
        yield f"{split}/{CLASSES[label]}/{place:04d}.png", data


def _batch_pictures(batches: Iterable[tuple[str, bytes]], where: str) -> Iterator[tuple[str, int, bytes]]:
    for name, data in batches:
        if not data or len(data) % _RECORD:
            raise UserError(f"{name} is cut short", where=where, remedy="download it again")
        records = np.frombuffer(data, np.uint8).reshape(-1, _RECORD)
        if records[:, 0].max() >= len(CLASSES):
            raise UserError(f"{name} has labels above {len(CLASSES) - 1}", where=where)
        split = "test" if name == "test_batch" else "train"
        for record in records:
            yield split, int(record[0]), png(record[1:].reshape(3, SIZE, SIZE).transpose(1, 2, 0).copy())


def _tar_batches(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                named = _BATCH.fullmatch(member.name)
                if not named or not member.isreg():
                    continue
                if member.size > _MAX_BATCH_BYTES:
                    raise UserError(f"{member.name} is {member.size:,} bytes: too large", where=str(path))
                file = archive.extractfile(member)
                yield named[1], file.read() if file else b""
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UserError(f"cannot be read ({error})", where=str(path), remedy="download it again") from None


def _folder_batches(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.iterdir()):
        named = _BATCH.fullmatch(path.name)
        if named:
            if path.stat().st_size > _MAX_BATCH_BYTES:
                raise UserError(f"{path.stat().st_size:,} bytes is too large", where=str(path))
            yield named[1], path.read_bytes()


def _hub_pictures(name: str) -> Iterator[tuple[str, bytes]]:
    datasets = require("datasets", extra="data", why=f"reading hf:{name}")
    try:
        sets = {split: datasets.load_dataset(name, split=split) for split in ("train", "test")}
    except Exception as error:  # whatever the library, the network or the hub raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"cannot be loaded ({reason})", where=f"hf:{name}", remedy="check the network"
        ) from None

    def labelled() -> Iterator[tuple[str, int, bytes]]:
        for split, table in sets.items():
            image = "img" if "img" in table.column_names else "image"
            if image not in table.column_names or "label" not in table.column_names:
                raise UserError(f"has no columns img and label ({table.column_names})", where=f"hf:{name}")
            for row in table:
                yield split, int(row["label"]), png(np.asarray(row[image].convert("RGB")))

    return _numbered(labelled())


def _checked_names(files: Files) -> dict[str, str]:
    """Name in the source → name in the result."""
    names: dict[str, str] = {}
    for name in files.names:
        named = _PICTURE.fullmatch(name)
        if named:
            names[name] = "/".join((named[1].lower(), named[2].lower(), name.rsplit("/", 1)[1]))
    if len(set(names.values())) < len(names):
        raise UserError(
            "holds two sets of train/ and test/", where=str(files.source), remedy="give one of them"
        )
    for split in ("train", "test"):
        present = {target.split("/")[1] for target in names.values() if target.startswith(f"{split}/")}
        missing = [name for name in CLASSES if name not in present]
        if missing:
            raise UserError(
                f"has no pictures in {split}/ of {', '.join(missing)}",
                where=str(files.source),
                remedy="give cifar-10-binary.tar.gz, or train/<class>/* and test/<class>/*",
            )
    return names


def _checked_pictures(files: Files, names: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    for name, target in names.items():
        data = files.read(name, max_bytes=1 << 20)
        decode(data, size=SIZE, where=files.where(name))
        yield target, data
