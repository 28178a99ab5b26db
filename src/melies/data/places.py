"""Where prepared data is looked for, and where `melies data prepare` puts it."""

import os
from pathlib import Path

from melies.errors import UserError, choose

FILES = {"emoji": "emoji64.zip", "fashion-mnist": "fashion-mnist.zip", "cifar10": "cifar10.zip"}
"""Set → the name of its zip."""


def cache_folder() -> Path:
    """The user's cache: `$XDG_CACHE_HOME/melies/data`, `%LOCALAPPDATA%` on Windows, else `~/.cache`."""
    given = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if os.name == "nt" else None)
    base = Path(given) if given and Path(given).is_absolute() else Path.home() / ".cache"
    return base / "melies" / "data"


def find_data(name: str, given: str | Path | None = None) -> Path:
    """The prepared set `name`, from the first place that has it.

    A path given comes first and alone; then `$MELIES_DATA` and `./data`, each with the zip of the set
    or a folder of its name, then the user's cache.

    Raises:
        UserError: Naming every place that was tried and the command that makes the set.
    """
    if given is not None:
        if str(given).startswith("hf:") or Path(given).expanduser().exists():
            return Path(given).expanduser()
        raise UserError("there is no such file or folder", where=str(given), remedy="check --data")
    file = choose(name, FILES, "data set")
    places = _places(name, file)
    for place in places:
        if place.exists():
            return place
    variable = "" if os.environ.get("MELIES_DATA") else " ($MELIES_DATA is not set)"
    raise UserError(
        f"the data set {name!r} was not found in {', '.join(map(str, places))}{variable}",
        remedy=f"run `melies data prepare {name}`, or give --data PATH",
    )


def default_output(name: str) -> Path:
    """Where `melies data prepare NAME` writes when not told otherwise: the user's cache."""
    return cache_folder() / choose(name, FILES, "data set")


def _places(name: str, file: str) -> list[Path]:
    folders = [Path("data"), cache_folder()]
    given = os.environ.get("MELIES_DATA")
    if given:
        folders.insert(0, Path(given).expanduser())
    return [folder / candidate for folder in folders for candidate in (file, name)]
