"""Read and write one checkpoint folder.

`config.json` (format, kind, config, transforms, nested parts, provenance), `weights.safetensors`,
`ema.safetensors`, and `resume.pt` while training. A folder is written whole under a temporary
name and renamed, so it exists complete or not at all. A run folder holds `checkpoint-N` folders,
N = samples seen; reading it reads the newest.
"""

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as tensor_bytes
from torch import Tensor, nn

from melies.config import to_json
from melies.errors import UserError, choose
from melies.files import file_sha256
from melies.optional import import_from
from melies.transform import Transform, transform_from_json

FORMAT = 1
RESUME = "resume.pt"

KINDS = {
    "image-codec": "melies.images.codec:restore",
    "image-diffusion": "melies.images.model:restore",
    "image-classifier": "melies.images.classifier:restore",
    "noisy-classifier": "melies.images.noisy_classifier:restore",
    "control-branch": "melies.images.control:restore",
    "tuned-control": "melies.images.tuned:restore",
    "camera-diffusion": "melies.camera.model:restore",
    "clatr": "melies.camera.clatr:restore",
    "autoencoder": "melies.autoencoders.ae:restore",
    "vae": "melies.autoencoders.vae:restore",
    "vqvae": "melies.autoencoders.vqvae:restore",
    "code-prior": "melies.autoencoders.prior:restore",
    "gan": "melies.gan.model:restore",
}
"""How each kind of model is built again: `restore(config: dict, transforms, parts) → model`."""


@runtime_checkable
class Model(Protocol):
    """What a checkpoint folder holds: a module that knows its kind, config and nested parts.

    One that `load` read also has `provenance`, which is written again where it is nested in another.
    """

    kind: str
    config: Any
    transforms: Mapping[str, Transform]
    parts: Mapping[str, Any]

    def state_dict(self) -> dict[str, Tensor]:
        """The weights, without those of the parts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A checkpoint in memory."""

    kind: str
    config: Any
    model: Any
    """The module, in evaluation mode, with EMA weights where the folder has them."""
    transforms: Mapping[str, Transform]
    parts: Mapping[str, "Loaded"]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    folder: Path


def save(
    folder: Path,
    model: Model,
    *,
    ema: Mapping[str, Tensor] | None = None,
    resume: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write a checkpoint folder; an existing one is replaced only when the new one is complete.

    Args:
        folder: Where; its parent is made if need be.
        model: The model; parts with a `kind` of their own are nested.
        ema: Averaged weights, by the same names.
        resume: Optimiser state and progress: tensors, numbers, strings and containers only.
        provenance: Where the weights come from: commit, versions, seed, samples seen.

    Raises:
        UserError: If the disk is full or not writable; what was there before is untouched.
    """
    return _write(folder, lambda fresh: _fill(fresh, model, ema, resume, provenance or {}))


def export(folder: Path, loaded: Loaded, *, dtype: torch.dtype = torch.float16) -> Path:
    """Write a folder to ship: the loaded (EMA) weights only, in half precision, parts nested."""

    def fill(fresh: Path, source: Loaded) -> None:
        config = {**_read_config(source.folder), "parts": sorted(source.parts)}
        _write_text(fresh / "config.json", json.dumps(config, indent=1))
        weights = {name: _half(value, dtype) for name, value in source.model.state_dict().items()}
        _write_tensors(fresh / "ema.safetensors", weights)
        for name, part in source.parts.items():
            (fresh / name).mkdir()
            fill(fresh / name, part)

    return _write(folder, lambda fresh: fill(fresh, loaded))


def load(folder: str | Path) -> Loaded:
    """Read a checkpoint folder, a run folder (its newest checkpoint) or a shipped model by name.

    Raises:
        UserError: If it is not there, not a checkpoint, truncated, of a newer format, or if its
            weights do not fit its config.
    """
    folder = locate(folder)
    config = _read_config(folder)
    parts = {name: load(folder / name) for name in config["parts"]}
    transforms = {
        name: transform_from_json(data, where=f"{folder.name}/config.json")
        for name, data in config["transforms"].items()
    }
    restore = import_from(choose(config["kind"], KINDS, f"kind of model in {folder.name}/config.json"))
    model = restore(config["config"], transforms, {name: part.model for name, part in parts.items()})
    fit(model, read_tensors(weights_file(folder)), folder)
    model.provenance = config["provenance"]
    return Loaded(
        kind=config["kind"],
        config=model.config,
        model=model.eval(),
        transforms=transforms,
        parts=parts,
        provenance=config["provenance"],
        folder=folder,
    )


def locate(name: str | Path) -> Path:
    """The checkpoint folder meant by a name (shipped, then the user's own) or else by a path.

    Of a run folder the newest checkpoint is meant.

    Raises:
        UserError: If there is none.
    """
    from melies.models import find_model, named_model

    folder = Path(name).expanduser()
    if folder.is_dir() and not named_model(str(name)) and (newest := newest_checkpoint(folder)):
        return newest
    return find_model(name)


def origin(name: str | Path) -> str:
    """Which weights a model's name or path means now: `emoji@0123456789ab`, `my-run/checkpoint-64@…`.

    The digits begin the SHA-256 of the weights; of the path only the last part is told, with that of
    the run where it is a run's checkpoint.

    Raises:
        UserError: If there is no such model.
    """
    folder = locate(name).resolve()
    run = f"{folder.parent.name}/" if re.fullmatch("checkpoint-[0-9]+", folder.name) else ""
    return f"{run}{folder.name}@{file_sha256(weights_file(folder))[:12]}"


def newest_checkpoint(run: Path) -> Path | None:
    """The complete `checkpoint-N` folder with the largest N in a run folder, if any."""
    found = [path for path in _numbered(run) if (path / "config.json").is_file()]
    return found[-1] if found else None


def weights_file(folder: Path) -> Path:
    """The weights that `load` reads: the averaged ones where the folder has them."""
    averaged = folder / "ema.safetensors"
    return averaged if averaged.exists() else folder / "weights.safetensors"


def remove_older(run: Path, *, keep: int = 2) -> None:
    """Delete all but the newest `keep` checkpoints of a run, and what a killed write left.

    Folders of any other name, such as a copy that somebody made, are not touched.
    """
    left = [path for how in ("writing", "replaced") for path in run.glob(f".checkpoint-*.{how}-*")]
    for path in [*_numbered(run)[:-keep], *left]:
        shutil.rmtree(path, ignore_errors=True)


def _numbered(run: Path) -> list[Path]:
    """The `checkpoint-N` folders of a run, by N."""
    found = [path for path in run.glob("checkpoint-*") if re.fullmatch("checkpoint-[0-9]+", path.name)]
    return sorted(found, key=lambda path: int(path.name.partition("-")[2]))


def read_resume(folder: Path) -> dict[str, Any]:
    """Optimiser state and progress, as `save` wrote them; plain data only, never code.

    Raises:
        UserError: If the folder has none or the file is damaged.
    """
    path = folder / RESUME
    if not path.exists():
        raise UserError(
            "nothing to resume from", where=str(path), remedy="a shipped model starts with --from"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise UserError(f"cannot be read: {error}", where=str(path)) from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, in float32 where they are of half precision.

    Raises:
        UserError: If the file is missing, truncated or no safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: _full(file.get_tensor(name)) for name in file.keys()}
    except FileNotFoundError:
        raise UserError("the weights are missing", where=str(path)) from None
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(
            f"not a complete safetensors file ({error})", where=str(path), remedy="copy the file again"
        ) from None


def fit(model: nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Put the weights of `folder` into a model of the same shape.

    Raises:
        UserError: If a name is missing, unknown or of another shape.
    """
    expected = model.state_dict()
    missing, unknown = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    shapes = sorted(n for n in expected.keys() & weights.keys() if expected[n].shape != weights[n].shape)
    for names, what in ((missing, "lacks"), (unknown, "has the unknown"), (shapes, "has other shapes for")):
        if names:
            listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise UserError(f"the checkpoint {what} {listed}", where=str(folder))
    model.load_state_dict(weights)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"cannot be read as JSON: {error}", where=str(path)) from None
    needed = {"format", "kind", "config", "transforms", "parts"}
    if not isinstance(config, dict) or not needed <= config.keys():
        raise UserError("not a melies checkpoint", where=str(path), remedy="see `melies models add --help`")
    types = {"kind": str, "config": dict, "transforms": dict, "parts": list, "provenance": dict}
    for name, kind in types.items():
        if not isinstance(config.get(name, kind()), kind):
            raise UserError(f"{name!r} is of the wrong kind: {config[name]!r}", where=str(path))
    if config["format"] != FORMAT:
        raise UserError(
            f"format {config['format']} is not {FORMAT}, which this version reads",
            where=str(path),
            remedy="upgrade melies",
        )
    for name in config["parts"]:
        if Path(str(name)).name != name or name in (".", ".."):
            raise UserError(f"part name {name!r} is not a plain folder name", where=str(path))
    return {"provenance": {}, **config}


def _fill(
    fresh: Path,
    model: Model,
    ema: Mapping[str, Tensor] | None,
    resume: Mapping[str, Any] | None,
    provenance: Mapping[str, Any],
) -> None:
    config = {
        "format": FORMAT,
        "kind": model.kind,
        "config": to_json(model.config),
        "transforms": {name: transform.to_json() for name, transform in model.transforms.items()},
        "parts": sorted(model.parts),
        "provenance": dict(provenance),
    }
    _write_text(fresh / "config.json", json.dumps(config, indent=1))
    _write_tensors(fresh / "weights.safetensors", model.state_dict())
    if ema is not None:
        _write_tensors(fresh / "ema.safetensors", ema)
    if resume is not None:
        _write_resume(fresh / RESUME, resume)
    for name, part in model.parts.items():
        (fresh / name).mkdir()
        _fill(fresh / name, part, None, None, getattr(part, "provenance", {}))


def _write(folder: Path, fill: Callable[[Path], None]) -> Path:
    fresh = folder.parent / f".{folder.name}.writing-{os.getpid()}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        fill(fresh)
        _take_place(fresh, folder)
        _sync_folder(folder.parent)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot be written: {reason}", where=str(folder), remedy="make room, or choose another folder"
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _take_place(fresh: Path, folder: Path) -> None:
    """Rename `fresh` to `folder`; an earlier folder steps aside, and back if that fails."""
    if not folder.exists():
        fresh.rename(folder)
        return
    old = folder.parent / f".{folder.name}.replaced-{os.getpid()}"
    folder.rename(old)
    try:
        fresh.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_resume(path: Path, resume: Mapping[str, Any]) -> None:
    with path.open("wb") as file:
        try:
            torch.save(dict(resume), file)
        except RuntimeError as error:  # torch hides the file's own error behind one of its zip writer
            hidden = error.__context__
            raise hidden if isinstance(hidden, OSError) else error from None
        _sync(file)


def _write_text(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        _sync(file)


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    # `save_file` renames a file of its own into place: private to its owner, and never synced.
    data = tensor_bytes({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    with path.open("wb") as file:
        file.write(data)
        _sync(file)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(file) -> None:
    file.flush()
    os.fsync(file.fileno())


def _half(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


def _full(value: Tensor) -> Tensor:
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
