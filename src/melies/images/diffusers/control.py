"""ControlNets of diffusers beside a pipeline, for `melies generate --model diffusers:PATH --control …`.

Hints are read and looked at as for our own branches; what a ControlNet makes of them goes to the pipeline's
network with the rows that it belongs to, so that guidance acts around it as around any network.
"""

import inspect
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from melies.errors import UserError
from melies.files import read_text
from melies.images.settings import DrawSettings
from melies.optional import import_from
from melies.text.weights import find_weights, loading

CONTROLLED = {
    "StableDiffusionPipeline": "StableDiffusionControlNetPipeline",
    "StableDiffusionXLPipeline": "StableDiffusionXLControlNetPipeline",
}
"""The class of pipelines that takes ControlNets, by that which takes none."""

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
"""What names of the Hugging Face hub look like."""


def controlnet_folders(
    settings: DrawSettings, *, allow_download: bool, say: Callable[[str], None]
) -> tuple[Path, ...]:
    """The folder of the ControlNet of each hint: that given, the Hugging Face cache, or the hub.

    Args:
        settings: What is drawn, with a folder or owner/name for each hint.
        allow_download: Whether the hub may be asked.
        say: Told before anything is downloaded.

    Raises:
        UserError: If one is not given, not there, no ControlNet, or has no safetensors.
    """
    folders = []
    for hint in settings.hints:
        if hint.model is None:
            raise UserError(
                f"the hint {hint.kind} has no ControlNet to read it",
                remedy="give its folder or owner/name with --control-model",
            )
        folder = Path(hint.model).expanduser()
        if not folder.exists() and REPOSITORY.fullmatch(hint.model):
            folder = find_weights(hint.model, hub=hint.model, allow_download=allow_download, say=say)
        try:
            config = json.loads(read_text(folder / "config.json"))
        except ValueError as error:
            raise UserError(f"cannot be read ({error})", where=str(folder / "config.json")) from None
        if not isinstance(config, dict) or config.get("_class_name") != "ControlNetModel":
            raise UserError(
                "not a ControlNet of diffusers", where=str(folder), remedy="give a folder that it saved"
            )
        if not any(folder.glob("*.safetensors")):
            raise UserError(
                "the folder has no safetensors", where=str(folder), remedy="pickles are not loaded"
            )
        folders.append(folder)
    return tuple(folders)


def controlled(pipe: Any, folders: Sequence[Path]) -> Any:
    """The pipeline with a ControlNet for each hint; its other parts are shared.

    Raises:
        UserError: If its class takes none, or a ControlNet is damaged or made for another network.
    """
    name = type(pipe).__name__
    if name not in CONTROLLED:
        raise UserError(
            f"pipelines of the class {name} take no hints here", remedy=f"supported: {', '.join(CONTROLLED)}"
        )
    nets: dict[Path, Any] = {}
    for folder in dict.fromkeys(folders):
        with loading("diffusers:ControlNetModel", folder):
            net = import_from("diffusers:ControlNetModel").from_pretrained(
                folder, use_safetensors=True, local_files_only=True
            )
        for part in ("cross_attention_dim", "block_out_channels", "in_channels"):
            theirs, ours = (list(_numbers(model.config[part])) for model in (net, pipe.unet))
            if theirs != ours:
                raise UserError(
                    f"the ControlNet has {part} {theirs}, and the pipeline's network {ours}",
                    where=str(folder),
                    remedy="take one that was trained for this kind of pipeline",
                )
        nets[folder] = net.to(pipe.device, pipe.dtype)
    chosen = [nets[folder] for folder in folders]
    kind = import_from(f"diffusers:{CONTROLLED[name]}")
    # not `from_pipe`, which would bring the shared parts to another precision
    flags = inspect.signature(kind).parameters.keys() & pipe.config.keys() - pipe.components.keys()
    options = {flag: pipe.config[flag] for flag in flags}
    made = kind(**pipe.components, **options, controlnet=chosen if len(chosen) > 1 else chosen[0])
    made.set_progress_bar_config(disable=True)
    return made


def control_arguments(settings: DrawSettings, hints: Sequence[UInt8[Tensor, "_ h w"]]) -> dict[str, Any]:
    """What such a pipeline is called with besides: one picture, scale, start and end for each ControlNet."""
    pictures = [(hint.float() / 255).expand(3, -1, -1)[None] for hint in hints]
    scales = [hint.scale for hint in settings.hints]
    start, end = settings.control_window
    several = len(hints) > 1
    return {
        "image": pictures if several else pictures[0],
        "controlnet_conditioning_scale": scales if several else scales[0],
        "control_guidance_start": start,
        "control_guidance_end": end,
        "guess_mode": settings.control_guess,
    }


def _numbers(value: Any) -> Sequence[int]:
    return value if isinstance(value, list | tuple) else (value,)
