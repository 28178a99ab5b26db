"""Models by name: those that ship with melies, and those that the user has added. Loads no torch.

A model is a checkpoint folder (see `melies.checkpoint`) with a card and `SHA256SUMS`, the digests of
its files as `sha256sum` writes them.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from melies.errors import UserError, nearest
from melies.files import file_sha256, write_text

SHIPPED = (
    "emoji",
    "emoji-judge",
    "emoji-features",
    "emoji-control",
    "digits-judge",
    "digits-features",
    "fashion-mnist-judge",
    "fashion-mnist-features",
    "fashion-mnist",
    "fashion-mnist-noisy-classifier",
)
"""What every installation has; `melies doctor` misses one that is not there."""

CARDS = ("card.md", "README.md")
"""Names of a card, the first found counts; the second is the Hugging Face convention."""

DIGESTS = "SHA256SUMS"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """What is known of a model without loading it."""

    name: str
    folder: Path
    kind: str
    """As in `melies.checkpoint.KINDS`."""
    size_bytes: int
    """All files of the folder together."""
    summary: str
    """First line of the card's text; empty without a card."""
    shipped: bool
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Where the weights come from, as the checkpoint says."""


def shipped_folder() -> Path:
    """The folder of the models that ship with melies."""
    return Path(__file__).resolve().parent


def user_folder() -> Path:
    """The user's own models: `$MELIES_MODELS`, else `melies/models` in the user's data folder."""
    if given := os.environ.get("MELIES_MODELS"):
        return Path(given).expanduser()
    given = os.environ.get("XDG_DATA_HOME") or (os.environ.get("LOCALAPPDATA") if os.name == "nt" else None)
    base = Path(given) if given and Path(given).is_absolute() else Path.home() / ".local" / "share"
    return base / "melies" / "models"


def named_model(name: str) -> Path | None:
    """The folder of the model called `name`: one that ships, else one of the user's, else None."""
    if _plain(name):
        for folder in (shipped_folder() / name, user_folder() / name):
            if (folder / "config.json").is_file():
                return folder
    return None


def find_model(name_or_path: str | Path) -> Path:
    """The checkpoint folder of a model: one that ships, else one of the user's, else a path.

    Raises:
        UserError: If there is none; the nearest name and all places are told.
    """
    name = str(name_or_path)
    if named := named_model(name):
        return named
    path = Path(name_or_path).expanduser()
    if (path / "config.json").is_file():
        return path
    if path.is_dir():
        raise UserError("the folder holds no checkpoint (no config.json)", where=name)
    if path.exists():
        raise UserError(
            "is a file, not a checkpoint folder", where=name, remedy=f"run `melies models add {name}`"
        )
    known = [entry.name for entry in list_models()]
    guess = nearest(name, known)
    if known:
        meant = f"did you mean {guess!r}? " if guess else ""
        remedy = f"{meant}Valid: {', '.join(known)}, or the path of a checkpoint"
    else:
        remedy = f"give the path of a checkpoint: no models are in {shipped_folder()} or {user_folder()}"
    raise UserError(f"there is no model {name!r}", remedy=remedy)


def list_models() -> tuple[ModelEntry, ...]:
    """The models that can be named: those that ship, then the user's own, each in the order of their names.

    A folder of the user's that cannot be read is left out; `describe_model` says why.
    """
    found: dict[str, ModelEntry] = {}
    for parent in (shipped_folder(), user_folder()):
        for folder in sorted(parent.glob("*/config.json")):
            name = folder.parent.name
            if name in found or name.startswith("."):
                continue
            try:
                found[name] = describe_model(folder.parent)
            except UserError:
                continue
    return tuple(found.values())


def describe_model(folder: Path) -> ModelEntry:
    """What a checkpoint folder says of itself.

    Raises:
        UserError: If its config cannot be read.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read as JSON: {error}", where=str(path)) from None
    if not isinstance(config, dict) or not isinstance(config.get("kind"), str):
        raise UserError("not a melies checkpoint", where=str(path))
    provenance = config.get("provenance")
    return ModelEntry(
        name=folder.name,
        folder=folder,
        kind=config["kind"],
        size_bytes=sum(file.stat().st_size for file in _files(folder)),
        summary=_first_sentence(card_of(folder)),
        shipped=folder.resolve().parent == shipped_folder(),
        provenance=provenance if isinstance(provenance, dict) else {},
    )


def card_of(folder: Path) -> str:
    """The card of a model, as Markdown; empty where it has none."""
    for name in CARDS:
        if (folder / name).is_file():
            return (folder / name).read_text(encoding="utf-8", errors="replace")
    return ""


def write_digests(folder: Path) -> Path:
    """Write `SHA256SUMS` over all files of a model."""
    lines = [f"{file_sha256(file)}  {file.relative_to(folder).as_posix()}\n" for file in _files(folder)]
    return write_text(folder / DIGESTS, "".join(lines))


def check_digests(folder: Path) -> int:
    """Compare a model's files with its `SHA256SUMS`; how many there are.

    Raises:
        UserError: Naming the first file that is missing, changed or not listed, and what mends it: for
            a model that ships, or for one of the user's own.
    """
    path = folder / DIGESTS
    ships = folder.resolve().parent == shipped_folder()
    again = "install melies again" if ships else "bring it again with `melies models add`"
    if not path.is_file():
        if not ships:
            again = "`melies models add` keeps a copy with one"
        raise UserError("the list of digests is missing", where=str(path), remedy=again)
    if not ships:
        again += f", or delete {DIGESTS} if the change is yours"
    try:
        lines = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines()]
        listed = {name.lstrip("*"): digest.lower() for digest, name in lines}
    except (ValueError, OSError) as error:
        raise UserError(f"cannot be read ({error})", where=str(path)) from None
    there = {file.relative_to(folder).as_posix(): file for file in _files(folder)}
    for name in sorted(listed.keys() | there.keys()):
        if name not in there:
            raise UserError("the file is missing", where=str(folder / name), remedy=again)
        if name not in listed:
            raise UserError(f"the file is not in {DIGESTS}", where=str(folder / name), remedy=again)
        if file_sha256(there[name]) != listed[name]:
            raise UserError("the file has changed", where=str(folder / name), remedy=again)
    return len(there)


def _files(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if path.name != DIGESTS and "__pycache__" not in path.parts)


def _plain(name: str) -> bool:
    return bool(name) and name not in (".", "..") and Path(name).name == name and "\\" not in name


def _first_sentence(card: str) -> str:
    """The first line of text of a card: no front matter, heading, picture or comment."""
    lines = card.lstrip("\ufeff").splitlines()
    if lines and lines[0].strip() == "---":
        end = next((i for i, line in enumerate(lines[1:], start=1) if line.strip() == "---"), 0)
        lines = lines[end + 1 :]
    for line in map(str.strip, lines):
        if line and not line.startswith(("#", "!", "<", "|", "---")):
            return line
    return ""
