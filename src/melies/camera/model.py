"""The diffusion model of camera paths: text encoder, feature maps and denoiser put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from melies.camera.director import Director, DirectorConfig
from melies.camera.features import (
    CAMERA_STEPS,
    CHARACTER_STEPS,
    NUM_FEATURES,
    WITH_LENS,
    Axes,
    decode_lens,
    decode_path,
    encode_character,
    encode_lens,
    encode_path,
    moved,
)
from melies.camera.path import FOCAL
from melies.config import check_positive, check_range, from_json
from melies.diffusion.precondition import Preconditioned, edm, flow
from melies.errors import UserError
from melies.interfaces import AttentionEdit, Condition, Residuals
from melies.text.config import TextConfig
from melies.text.reader import TextReader
from melies.transform import StandardizeSteps, Transform

Time = Literal["edm", "flow"]
"""What a network predicts, and how it is told the noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraDiffusionConfig:
    """What a diffusion model of camera paths is made of; the defaults are those published."""

    network: DirectorConfig
    """The denoising network."""
    text: TextConfig = TextConfig(name="clip", hub="openai/clip-vit-base-patch32")
    """The text encoder."""
    axes: Axes = "world"
    """In which the path's steps are: those of the world, as published, or the camera's own at each frame."""
    relative: bool = False
    """Whether positions are told from where the character is at each frame, and not at the first; no motion
    is then one that follows (human-relative features, as in "Pulp Motion", arXiv 2510.05097)."""
    time: Time = "edm"
    """What the network predicts, and how it is told the noise: EDM's, as published, or flow's velocity."""
    fps: float = 25.0
    """Frames a second of the paths that it knows."""
    sigma_data: float = 0.5
    """Standard deviation of the features."""
    sigma_min: float = 0.002
    """Smallest noise level worth a step."""
    sigma_max: float = 80.0
    """Noise level from which sampling starts."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("fps", "sigma_data", "sigma_min"):
            check_positive(name, getattr(self, name))
        check_range("sigma_max", self.sigma_max, low=self.sigma_min, low_open=True)


class CameraDiffusion(TextReader):
    """A denoiser of camera paths with all that is needed to draw: the call is (x, sigma, condition) → x0."""

    kind = "camera-diffusion"

    def __init__(
        self,
        config: CameraDiffusionConfig,
        *,
        transforms: Mapping[str, Transform] | None = None,
        text_encoder: Any | None = None,
    ) -> None:
        """Put the parts together; the network starts untrained.

        Args:
            config: What to build.
            transforms: `"camera"` and `"character"`: the standardisation of their steps; those of E.T. where
                none are given.
            text_encoder: A frozen encoder that is already loaded, so as not to load it again.
        """
        super().__init__(config.text, text_encoder)
        self.config = config
        published = {"camera": CAMERA_STEPS, "character": CHARACTER_STEPS}
        self.transforms: dict[str, Transform] = {**published, **(transforms or {})}
        self.parts: dict[str, Any] = {}
        self.denoiser = Preconditioned(
            Director(config.network),
            sigma_data=config.sigma_data,
            scalings={"edm": edm, "flow": flow}[config.time],
        )

    def __deepcopy__(self, memo: dict) -> "CameraDiffusion":
        """Copy the weights only: the text encoder is shared."""
        fresh = type(self)(
            self.config,
            transforms=self.transforms,
            text_encoder=self._frozen_text[0] if self._frozen_text else None,
        )
        fresh.load_state_dict(self.state_dict())
        return fresh.to(self.device)

    def forward(
        self,
        x: Float[Tensor, "b nine n"],
        sigma: Float[Tensor, " b"],
        condition: Condition,
        *,
        attention: AttentionEdit | None = None,
        residuals: Residuals | None = None,
    ) -> Float[Tensor, "b nine n"]:
        """Denoise: the expected x0 of x = x0 + σ·ε, with the text as token ids or as states."""
        states = self.with_states(condition)
        return self.denoiser(x, sigma, states, attention=attention, residuals=residuals)

    def shape(self, frames: int) -> tuple[int, int]:
        """Features and frames of one x0."""
        return (self.config.network.features, frames)

    def encode(
        self,
        world_from_camera: Float[Tensor, "b n 4 4"],
        characters: Float[Tensor, "b n 3"],
        focal: Float[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b features n"]:
        """Poses to x0.

        Args:
            world_from_camera: Metres from where the character is first.
            characters: Where it is, metres from there.
            focal: Of the lens, in heights of the picture; E.T.'s if not given. For a model that knows lenses.
        """
        poses = moved(world_from_camera, -characters) if self.config.relative else world_from_camera
        x0 = encode_path(poses, self._steps("camera"), axes=self.config.axes)
        if self.config.network.features < WITH_LENS:
            return x0
        return torch.cat(
            [x0, encode_lens(torch.full_like(x0[:, 0], FOCAL) if focal is None else focal)], dim=1
        )

    def decode(
        self, x0: Float[Tensor, "b nine n"], characters: Float[Tensor, "b n 3"]
    ) -> Float[Tensor, "b n 4 4"]:
        """x0 to poses beside their character."""
        poses = decode_path(x0, self._steps("camera"), axes=self.config.axes)
        return moved(poses, characters) if self.config.relative else poses

    def focal(self, x0: Float[Tensor, "b features n"]) -> Float[Tensor, "b n"] | None:
        """x0 to focal lengths, in heights of the picture; None of a model that knows no lenses."""
        return decode_lens(x0[:, NUM_FEATURES]) if self.config.network.features == WITH_LENS else None

    @torch.no_grad()
    def condition_on(
        self,
        texts: Sequence[str] = (),
        characters: Float[Tensor, "b n 3"] | None = None,
        *,
        valid: Bool[Tensor, "b n"],
    ) -> dict[str, Tensor]:
        """The condition of a batch: texts, characters, or both, one of each per path.

        Args:
            texts: What the camera does, in words.
            characters: Where the character's hips are, metres, origin at the first frame.
            valid: Which frames each path has.
        """
        condition: dict[str, Tensor] = {"frames_valid": valid.to(self.device)}
        if texts:
            tokens, text_valid = self.read_texts(texts)
            condition |= {"text": tokens, "text_valid": text_valid}
        if characters is not None:
            condition["character"] = encode_character(
                characters.to(self.device).float(), self._steps("character")
            )
        return condition

    def null_condition(self, like: Condition) -> dict[str, Tensor]:
        """The null of a condition: the same tensors, text and character marked as not present."""
        b = len(like["frames_valid"])
        absent = torch.zeros(b, dtype=torch.bool, device=self.device)
        names = [name for name in ("text", "character") if name in like]
        return {**like, **{f"present.{name}": absent for name in names}}

    def _steps(self, name: str) -> StandardizeSteps:
        transform = self.transforms[name]
        if not isinstance(transform, StandardizeSteps):
            raise UserError(f"the checkpoint has no statistics of the {name}'s steps")
        return transform


def restore(
    config: Mapping[str, Any], transforms: Mapping[str, Transform], parts: Mapping[str, Any]
) -> CameraDiffusion:
    """Build a model from the config of a checkpoint."""
    return CameraDiffusion(from_json(CameraDiffusionConfig, config), transforms=transforms)
