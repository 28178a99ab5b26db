"""What is known of each class of pipeline: its network, the names of its inputs, and how it reads words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from melies.errors import UserError

Inputs = dict[str, Any]
"""The arguments of one call of a network, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One class of pipelines."""

    network: str
    """The component that predicts."""
    inputs: tuple[str, ...]
    """Names of the network's first arguments, of which the first is the noisy latents."""
    read: Callable[[Any, str, Mapping[str, Any]], dict[str, Tensor]]
    """`(pipeline, words, inputs) → embeddings (1, …)` by input, of the lengths that these inputs have."""
    asks: Mapping[str, Any]
    """Options of a call that make the pipeline prepare a null; the number does not count, and "" stands
    for as many as there are prompts."""
    time_unit: float = 1.0
    """The network is told the scheduler's timestep divided by this."""
    in_turn: bool = False
    """Whether the condition and its null are two calls; else they are the halves of one batch, null first."""
    switch: str = "guidance_scale above 1"
    """What makes the pipeline prepare both, for errors."""


def family_of(pipe: Any) -> Family:
    """What is known of a pipeline.

    Raises:
        UserError: If its class is not supported; those that are get named.
    """
    for kind in type(pipe).__mro__:  # a class of the user's own that derives from a known one is known
        if kind.__name__ in FAMILIES:
            return FAMILIES[kind.__name__]
    raise UserError(
        f"pipelines of the class {type(pipe).__name__} cannot be guided",
        remedy=f"supported: {', '.join(FAMILIES)}",
    )


def _read_sd(pipe: Any, words: str, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """CLIP's token states."""
    states, _ = pipe.encode_prompt(words, pipe._execution_device, 1, False, clip_skip=pipe.clip_skip)
    return {"encoder_hidden_states": states}


def _read_sdxl(pipe: Any, words: str, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """The token states of two CLIPs, and the pooled state of the second."""
    states, _, pooled, _ = pipe.encode_prompt(
        words, do_classifier_free_guidance=False, clip_skip=pipe.clip_skip
    )
    return {"encoder_hidden_states": states, "added_cond_kwargs.text_embeds": pooled}


def _read_sd3(pipe: Any, words: str, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """The token states of two CLIPs and T5, as many as the prompt has, and the pooled states of CLIP."""
    length = inputs["encoder_hidden_states"].shape[1] - pipe.tokenizer_max_length
    states, _, pooled, _ = pipe.encode_prompt(
        words,
        None,
        None,
        do_classifier_free_guidance=False,
        clip_skip=pipe.clip_skip,
        max_sequence_length=length,
    )
    return {"encoder_hidden_states": states, "pooled_projections": pooled}


def _read_flux(pipe: Any, words: str, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """T5's token states, as many as the prompt has, and CLIP's pooled state."""
    length = inputs["encoder_hidden_states"].shape[1]
    states, pooled, _ = pipe.encode_prompt(words, None, max_sequence_length=length)
    return {"encoder_hidden_states": states, "pooled_projections": pooled}


_UNET = ("sample", "timestep", "encoder_hidden_states")
_DIT = ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep")
_ASKS = {"guidance_scale": 2.0}

FAMILIES = {
    "StableDiffusionPipeline": Family(network="unet", inputs=_UNET, read=_read_sd, asks=_ASKS),
    "StableDiffusionXLPipeline": Family(network="unet", inputs=_UNET, read=_read_sdxl, asks=_ASKS),
    "StableDiffusionControlNetPipeline": Family(network="unet", inputs=_UNET, read=_read_sd, asks=_ASKS),
    "StableDiffusionXLControlNetPipeline": Family(network="unet", inputs=_UNET, read=_read_sdxl, asks=_ASKS),
    "StableDiffusion3Pipeline": Family(network="transformer", inputs=_DIT, read=_read_sd3, asks=_ASKS),
    "FluxPipeline": Family(
        network="transformer",
        inputs=_DIT,
        read=_read_flux,
        asks={"true_cfg_scale": 2.0, "negative_prompt": ""},
        time_unit=1000.0,
        in_turn=True,
        switch="true_cfg_scale above 1 and a negative_prompt, which may be empty",
    ),
}
"""Class of pipeline → what is known of it."""
