"""Put a finished run where models ship: `python -m melies.recipes.ship runs/emoji emoji`.

Averaged weights in half precision, nested parts, digests; a card and records that are there stay.
"""

import shutil
import sys
from pathlib import Path

from melies import checkpoint
from melies.errors import UserError
from melies.models import CARDS, shipped_folder, write_digests

MAX_MODEL_BYTES = 12_000_000
"""Largest model that ships."""
MAX_BYTES = 40_000_000
"""Largest size of all models that ship together."""

USAGE = "usage: python -m melies.recipes.ship RUN NAME, as in: runs/emoji emoji"


def ship(run: Path, name: str, *, into: Path | None = None) -> Path:
    """Export the newest checkpoint of a run as the shipped model `name`.

    Args:
        run: Run folder or checkpoint folder.
        name: Name of the model.
        into: Folder of models; None for the one that ships.

    Returns:
        The folder that was written.

    Raises:
        UserError: If the model or all models together would be too large; nothing is replaced then.
    """
    models = into or shipped_folder()
    folder = models / name
    kept, fresh = (models / f".{name}.{what}" for what in ("kept", "fresh"))
    loaded = checkpoint.load(run)
    if kept.is_dir():  # an earlier run was killed, and this may be the only copy
        _copy_missing(kept, folder)
    shutil.rmtree(kept, ignore_errors=True)
    try:
        checkpoint.export(fresh, loaded)
        for path in [*(folder / card for card in CARDS), *folder.glob("*.png"), folder / "records"]:
            if path.exists():
                _copy_missing(path, fresh / path.name)
        _check_size(fresh, folder, models)
        write_digests(fresh)
        if folder.exists():
            folder.rename(kept)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(kept, ignore_errors=True)
    return folder


def _copy_missing(source: Path, target: Path) -> None:
    """Copy a file or a folder, but not over a file that is there."""
    files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
    for file in files:
        copy = target / file.relative_to(source) if file != source else target
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


def _check_size(fresh: Path, folder: Path, models: Path) -> None:
    size = _size(fresh)
    others = sum(_size(path) for path in models.iterdir() if path.is_dir() and path not in (fresh, folder))
    for what, found, limit in (
        (f"the model {folder.name!r}", size, MAX_MODEL_BYTES),
        ("all models together", size + others, MAX_BYTES),
    ):
        if found > limit:
            raise UserError(
                f"{what} would take {found / 1e6:.1f} MB, and {limit / 1e6:g} MB ship", where=str(models)
            )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main(argv: list[str]) -> int:
    """Ship a run; the exit code."""
    if len(argv) != 2:
        print(USAGE, file=sys.stderr)
        return 2
    try:
        print(ship(Path(argv[0]), argv[1]))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
