"""Checking a model that was brought by hand, and keeping it in the user's model folder."""

import contextlib
import json
import re
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from melies import checkpoint
from melies.checkpoint import Loaded
from melies.data.archive import open_files
from melies.errors import UserError, nearest
from melies.files import file_sha256, write_text
from melies.foreign import PICKLED, read_pickled
from melies.models import (
    CARDS,
    ModelEntry,
    describe_model,
    list_models,
    shipped_folder,
    user_folder,
    write_digests,
)

KEPT = (".json", ".safetensors", ".md")
"""Files of a checkpoint that are taken out of a zip."""
MAX_CHECKPOINT_BYTES = 64 << 30


def add_model(source: Path, *, name: str | None = None, like: str | None = None) -> ModelEntry:
    """Check a model, convert it to half precision and keep it in the user's model folder.

    Args:
        source: Checkpoint folder, run folder, zip of either, or a file with weights alone.
        name: What to call it; from the name of the source when None.
        like: For weights alone, the model whose config and parts they go with; when None, the one
            known model that they fit.

    Raises:
        UserError: If the source is not there, broken, holds more than tensors, fits no model, or the
            name is taken or cannot be a folder's.
    """
    source = source.expanduser()
    if not source.exists():
        raise UserError("there is no such file or folder", where=str(source))
    name = _check_name(name or _name_of(source))
    with _read(source, like) as loaded:
        return _keep(name, loaded, source)


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UserError(
            f"{name!r} cannot be the name of a model", remedy="use letters, digits, - and _ with --name"
        )
    if (shipped_folder() / name).exists():
        raise UserError(f"{name!r} ships with melies", remedy="give another --name")
    if (user_folder() / name).exists():
        raise UserError(
            f"there is a model {name!r} already",
            where=str(user_folder() / name),
            remedy="give another --name",
        )
    return name


def _name_of(source: Path) -> str:
    source = source.resolve()
    if source.is_dir():  # the checkpoint of a run is called after its run
        return source.parent.name if re.fullmatch(r"checkpoint-\d+", source.name) else source.name
    return source.stem


@contextlib.contextmanager
def _read(source: Path, like: str | None) -> Iterator[Loaded]:
    if source.is_dir():
        yield checkpoint.load(source)
    elif source.suffix == ".safetensors":
        yield _fitting(checkpoint.read_tensors(source), source, like)
    elif source.suffix in PICKLED:
        yield _fitting(read_pickled(source), source, like)
    elif zipfile.is_zipfile(source):
        with tempfile.TemporaryDirectory(prefix="melies-") as folder:
            yield checkpoint.load(_unpack(source, Path(folder)))
    else:
        raise UserError(
            "is neither a checkpoint folder, a zip of one, nor a file of weights",
            where=str(source),
            remedy=f"give a folder, .zip, .safetensors or {', '.join(PICKLED)}",
        )


def _fitting(weights: Mapping[str, Tensor], source: Path, like: str | None) -> Loaded:
    """The known model with exactly these names and shapes, holding these weights."""
    names = [like] if like else [entry.name for entry in list_models()]
    shapes = {key: tuple(value.shape) for key, value in weights.items()}
    wrong = []
    for name in names:
        loaded = checkpoint.load(name)
        expected = {key: tuple(value.shape) for key, value in loaded.model.state_dict().items()}
        if expected == shapes:
            loaded.model.load_state_dict(dict(weights))
            taken_from = {"weights_of": source.name, "sha256": file_sha256(source), "config_of": name}
            return replace(loaded, provenance=taken_from)
        wrong.append(f"{name}: {_difference(shapes, expected)}")
    reasons = "; ".join(wrong) if wrong else "there is none here"
    raise UserError(
        f"the weights fit no model ({reasons})", where=str(source), remedy="give the whole checkpoint folder"
    )


def _difference(shapes: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    missing, unknown = sorted(expected.keys() - shapes.keys()), sorted(shapes.keys() - expected.keys())
    if missing:
        close = nearest(missing[0], unknown)
        return f"lacks {missing[0]}" + (f", has {close}" if close else "")
    if unknown:
        return f"has the unknown {unknown[0]}"
    name = next(key for key in shapes if shapes[key] != expected[key])
    return f"{name} is {shapes[name]}, not {expected[name]}"


def _unpack(source: Path, folder: Path) -> Path:
    """The checkpoint's files out of a zip whose names and sizes were found to be harmless."""
    with open_files(source) as files:
        wanted = [name for name in files.names if name.endswith(KEPT)]
        configs = [name for name in wanted if PurePosixPath(name).name == "config.json"]
        if not configs:
            raise UserError("the zip holds no checkpoint (no config.json)", where=str(source))
        if sum(files.sizes[name] for name in wanted) > min(
            MAX_CHECKPOINT_BYTES, shutil.disk_usage(folder).free
        ):
            raise UserError("unpacks to more than there is room for", where=str(source), remedy="make room")
        for name in wanted:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files.read(name))
    root = min((PurePosixPath(name).parent for name in configs), key=lambda path: len(path.parts))
    if re.fullmatch(r"checkpoint-\d+", root.name):  # a run: its newest checkpoint is meant
        root = root.parent
    return folder / root


def _keep(name: str, loaded: Loaded, source: Path) -> ModelEntry:
    """Everything under a hidden name first, so that the model is there whole or not at all."""
    parent = user_folder()
    working = parent / f".{name}.{secrets.token_hex(4)}"
    try:
        fresh = checkpoint.export(working / name, loaded)
        _write_provenance(fresh / "config.json", loaded.provenance)
        for card in (
            loaded.folder / card for card in CARDS if not source.is_file() or zipfile.is_zipfile(source)
        ):
            if card.is_file():
                shutil.copyfile(card, fresh / card.name)
        write_digests(fresh)
        checkpoint.load(fresh)  # what was written is what can be read
        fresh.rename(parent / name)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return describe_model(parent / name)


def _write_provenance(path: Path, provenance: Mapping[str, Any]) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    write_text(path, json.dumps({**config, "provenance": dict(provenance)}, indent=1) + "\n")
