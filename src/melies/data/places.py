"""Where prepared data is looked for, and where `melies data prepare` puts it."""

import os
from pathlib import Path

from melies.data import PREPARE
from melies.data.shards import shard_paths
from melies.errors import UserError, choose
from melies.optional import import_from
from melies.progress import Progress, silent

FILES = {
    "emoji": "emoji64.zip",
    "fashion-mnist": "fashion-mnist.zip",
    "cifar10": "cifar10.zip",
    "digits": "digits.zip",
}
"""Set → the name of its zip."""

INSTALLED = ("digits",)
"""Sets that an installed package brings: they are made when they are wanted, in a second."""


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
        if str(given).startswith("hf:") or shard_paths(given) or Path(given).expanduser().exists():
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


def find_or_make(name: str, given: str | Path | None = None, *, progress: Progress = silent) -> Path:
    """As `find_data`, but one of the sets in `INSTALLED` is made in the user's cache where it is missing.

    Raises:
        UserError: If it is not found, or cannot be made.
    """
    try:
        return find_data(name, given)
    except UserError:
        if given is not None or name not in INSTALLED:
            raise
    out = default_output(name)
    try:
        import_from(PREPARE[name])(out, progress=progress)
    except UserError:
        if not out.exists():  # otherwise another process made it meanwhile
            raise
    return out


def default_output(name: str) -> Path:
    """Where `melies data prepare NAME` writes when not told otherwise: the user's cache."""
    return cache_folder() / choose(name, FILES, "data set")


def _places(name: str, file: str) -> list[Path]:
    folders = [Path("data"), cache_folder()]
    given = os.environ.get("MELIES_DATA")
    if given:
        folders.insert(0, Path(given).expanduser())
    return [folder / candidate for folder in folders for candidate in (file, name)]
