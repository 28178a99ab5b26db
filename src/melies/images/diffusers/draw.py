"""Pictures by a pretrained pipeline, for `melies generate --model diffusers:PATH`.

A pipeline is a folder that `save_pretrained` of diffusers wrote, or such a repository of the Hugging Face
hub. Of it nothing is run but the classes of diffusers and transformers, and nothing is read but
safetensors and text: no pickle, no custom pipeline, no code from the hub.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance
from melies.errors import UserError
from melies.files import file_sha256, read_text
from melies.images.counting import Counts
from melies.images.diffusers.control import REPOSITORY, control_arguments, controlled, controlnet_folders
from melies.images.diffusers.coordinates import is_flow
from melies.images.diffusers.families import FAMILIES, family_of
from melies.images.diffusers.wrap import guided
from melies.images.settings import DrawSettings
from melies.interfaces import Guidance
from melies.optional import import_from, require
from melies.progress import Progress
from melies.text.weights import first_line, hub_cache, loading

PREFIX = "diffusers:"
"""What the name of such a model begins with."""

INDEX = "model_index.json"
"""The file that says what a folder's pipeline is made of."""

LIBRARIES = ("diffusers", "transformers", "stable_diffusion")
"""Where the parts of a pipeline may come from; the last is a module of diffusers."""

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Files of weights that are never read."""

NOT_HERE = (
    *("classes", "sampler", "grid", "eta", "init", "strength", "mask", "weak", "classifier"),
    "control_interval",
)
"""The settings that a pipeline does not draw by; it has a scheduler of its own."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pipeline:
    """A pretrained pipeline that is ready to draw."""

    pipe: Any
    """Of diffusers."""
    weights: str
    """SHA-256 of what `sha256sum` prints for its weights, in the order of their names."""

    controls: tuple[tuple[Path, str], ...] = ()
    """Folder or owner/name of the ControlNet of each hint, and SHA-256 of its weights."""
    counts: Counts = field(default_factory=Counts)
    """What the network has been asked since counting began: the pipeline's own calls are others."""

    @contextmanager
    def counting(self) -> Iterator[Counts]:
        """Counts anew while the block runs."""
        self.counts.calls = self.counts.rows = 0
        yield self.counts

    @property
    def side(self) -> int:
        """Height and width of a picture, those that it was trained for."""
        size = getattr(self.pipe, "default_sample_size", None) or self.pipe.unet.config.sample_size
        return int(np.min(size)) * self.pipe.vae_scale_factor

    def draw(
        self,
        settings: DrawSettings,
        indices: range,
        guidance: Guidance | None,
        progress: Progress,
        *,
        hints: Sequence[UInt8[Tensor, "_ h w"]] = (),
    ) -> UInt8[Tensor, "b 3 h w"]:
        """The pictures of those numbers, in one batch, each kept to all hints.

        Raises:
            UserError: If the guidance does not fit the pipeline's scheduler or network.
        """
        b, family = len(indices), family_of(self.pipe)
        asked = {name: [what] * b if what == "" else what for name, what in family.asks.items()}
        asked |= control_arguments(settings, hints) if hints else {}
        with progress("drawing", total=b * settings.steps, unit="steps") as track:

            def tick(pipe: Any, step: int, timestep: Any, named: dict[str, Any]) -> dict[str, Any]:
                if step < settings.steps:  # some schedulers take a step more
                    track.advance(b)
                return named

            with guided(
                self.pipe,
                guidance or ClassifierFreeGuidance(scale=settings.scale),
                negative=settings.negative,
            ) as run:
                drawn = self.pipe(
                    [settings.prompt_of(i) for i in indices],
                    height=self.side,
                    width=self.side,
                    num_inference_steps=settings.steps,
                    generator=[torch.Generator().manual_seed(settings.seed_of(i)) for i in indices],
                    callback_on_step_end=tick,
                    **asked,
                ).images
        self.counts.calls += run.network_calls
        self.counts.rows += run.rows
        pictures = np.stack([np.asarray(picture.convert("RGB")) for picture in drawn])
        return torch.from_numpy(pictures).permute(0, 3, 1, 2)


def open_pipeline(settings: DrawSettings, *, allow_download: bool, say: Callable[[str], None]) -> Pipeline:
    """The pipeline that is asked for, once it is sure to draw by these settings.

    Raises:
        UserError: If it is not found, holds pickles or code only, is of a class that cannot be guided, or
            a setting does not apply.
    """
    plain = DrawSettings()
    for name in NOT_HERE:
        if getattr(settings, name) != getattr(plain, name):
            option = "--class" if name == "classes" else f"--{name}"
            raise UserError(f"pipelines of diffusers do not draw by {name}", remedy=f"leave out {option}")
    if not settings.prompts:
        raise UserError("nothing to draw", remedy='give a prompt: melies generate "a polar bear"')
    require("diffusers", extra="diffusers", why="pretrained pipelines")
    folder = find_pipeline(settings.model.removeprefix(PREFIX), allow_download=allow_download, say=say)
    pipe, weights = load_pipeline(folder), weights_sha256(folder)
    if not settings.hints:
        return Pipeline(pipe=pipe, weights=weights)
    controls = controlnet_folders(settings, allow_download=allow_download, say=say)
    digests = {control: weights_sha256(control) for control in controls}
    return Pipeline(
        pipe=controlled(pipe, controls),
        weights=weights,
        controls=tuple(
            (Path(hint.model or control), digests[control])
            for hint, control in zip(settings.hints, controls, strict=True)
        ),
    )


def find_pipeline(name: str, *, allow_download: bool, say: Callable[[str], None]) -> Path:
    """The folder of a pipeline: that folder, the Hugging Face cache, or where it is allowed the hub.

    Raises:
        UserError: If it is nowhere; every place that was tried is named.
    """
    folder = Path(name).expanduser()
    if (folder / INDEX).is_file():
        return folder
    if folder.exists() or not REPOSITORY.fullmatch(name):
        what = f"no pipeline of diffusers: there is no {INDEX}" if folder.exists() else "no such folder"
        raise UserError(what, where=name, remedy="give a folder that save_pretrained wrote, or owner/name")
    download = import_from("diffusers:DiffusionPipeline").download
    options = {"cache_dir": hub_cache(), "use_safetensors": True}
    try:
        return Path(download(name, local_files_only=True, **options))
    except Exception as error:  # the client's errors share no base class
        if not allow_download:
            raise UserError(
                f"no pipeline {name!r}; tried that folder, the Hugging Face cache ({hub_cache()}) and the hub"
                " (downloading was not allowed)",
                remedy=f"run `hf download {name}` or add --allow-download",
            ) from error
    say(f"downloading {name} from the Hugging Face hub into {hub_cache()}")
    try:
        return Path(download(name, **options))
    except Exception as error:
        raise UserError(
            f"downloading failed: {first_line(error)}", where=name, remedy="check the name and the network"
        ) from error


def load_pipeline(folder: Path) -> Any:
    """The pipeline in a folder, on the GPU in half precision where there is one.

    Raises:
        UserError: If its class cannot be guided, a part is code or pickles, or the files are damaged.
    """
    name = _check_index(folder)
    _check_weights(folder)
    with loading(f"diffusers:{name}", folder), _without_bars():
        kind = import_from(f"diffusers:{name}")
        pipe = kind.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    if torch.cuda.is_available():
        pipe = pipe.to("cuda", torch.bfloat16 if is_flow(pipe.scheduler) else torch.float16)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@contextmanager
def _without_bars() -> Iterator[None]:
    """No bar of diffusers for the parts that are loaded."""
    said = import_from("diffusers.utils:logging")
    bars = said.is_progress_bar_enabled()
    said.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            said.enable_progress_bar()


def weights_sha256(folder: Path) -> str:
    """The identity of the weights of a pipeline, or of a part of one."""
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.safetensors"))
    lines = "".join(f"{file_sha256(folder / file)}  {file}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _check_index(folder: Path) -> str:
    """The class of the pipeline in a folder, all of whose parts are known libraries' own."""
    where = str(folder / INDEX)
    try:
        index = json.loads(read_text(folder / INDEX))
    except ValueError as error:
        raise UserError(f"cannot be read ({error})", where=where) from None
    name = index.get("_class_name") if isinstance(index, dict) else None
    if not isinstance(name, str) or name not in FAMILIES:  # a list names code of the folder's own
        raise UserError(
            f"pipelines of the class {name} cannot be guided",
            where=where,
            remedy=f"supported: {', '.join(FAMILIES)}",
        )
    for part, made_of in index.items():
        library = made_of[0] if isinstance(made_of, list) and len(made_of) == 2 else None
        if library is not None and library not in LIBRARIES:
            raise UserError(
                f"its {part} is code of {library!r}, which is not run",
                where=where,
                remedy=f"parts come from {', '.join(LIBRARIES[:2])}",
            )
    return name


def _check_weights(folder: Path) -> None:
    """Refuse a part that has nothing but pickles."""
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        suffixes = {file.suffix for file in part.iterdir()}
        if suffixes & set(PICKLES) and ".safetensors" not in suffixes:
            raise UserError(
                "the weights are a pickle, which is never loaded",
                where=str(part),
                remedy="save the pipeline with save_pretrained(…, safe_serialization=True) if you trust it",
            )
