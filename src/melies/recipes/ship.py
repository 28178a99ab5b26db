"""Put a finished run where models ship: `python -m melies.recipes.ship runs/emoji emoji`.

Averaged weights in half precision, nested parts, digests; a card and records that are there stay.
"""

import shutil
import sys
from pathlib import Path

from melies import checkpoint
from melies.models import CARDS, shipped_folder, write_digests


def ship(run: Path, name: str, *, into: Path | None = None) -> Path:
    """Export the newest checkpoint of a run as the shipped model `name`.

    Args:
        run: Run folder or checkpoint folder.
        name: Name of the model.
        into: Folder of models; None for the one that ships.

    Returns:
        The folder that was written.
    """
    folder = (into or shipped_folder()) / name
    kept = folder.with_name(f".{name}.kept")
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for path in [*(folder / card for card in CARDS), *folder.glob("*.png"), folder / "records"]:
        if path.is_dir():
            shutil.copytree(path, kept / path.name)
        elif path.exists():
            shutil.copyfile(path, kept / path.name)
    checkpoint.export(folder, checkpoint.load(run))
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    shutil.rmtree(kept)
    write_digests(folder)
    return folder


if __name__ == "__main__":
    print(ship(Path(sys.argv[1]), sys.argv[2]))
