"""Control branches of picture models: what a checkpoint holds, hints as it reads them, and how it steers.

Zhang, Rao & Agrawala (2023), "Adding conditional control to text-to-image diffusion models".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from melies import checkpoint
from melies.config import from_json
from melies.diffusion.control import EVERYWHERE, Control, Controlled, guess_scales, steps_interval
from melies.errors import UserError, choose
from melies.files import file_sha256
from melies.images.conditions import CONDITIONS
from melies.images.features import best_device
from melies.images.model import ImageDiffusion
from melies.interfaces import Condition
from melies.nn.control import ControlConfig, build_control
from melies.nn.transformer import TransformerConfig
from melies.transform import Transform


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlBranchConfig:
    """What a control branch is made of, and which hints it reads."""

    branch: ControlConfig
    """The network."""
    kinds: tuple[str, ...]
    """Kinds of hint, of `melies.images.conditions.CONDITIONS`, in the order in which the branch numbers
    them."""

    def __post_init__(self) -> None:
        """Check the kinds."""
        if len(self.kinds) != self.branch.num_kinds or len(set(self.kinds)) < len(self.kinds):
            raise UserError(
                f"{list(self.kinds)} for a branch of {self.branch.num_kinds} kinds of hint",
                where="ControlBranchConfig.kinds",
                remedy="give each kind once",
            )
        for kind in self.kinds:
            choose(kind, CONDITIONS, "kind of condition")


class PictureControl(nn.Module):
    """A `ControlBranch` with what its hints are: the kind of checkpoint that steers a picture model."""

    kind = "control-branch"

    def __init__(
        self, config: ControlBranchConfig, transforms: Mapping[str, Transform] | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.transforms: dict[str, Transform] = dict(transforms or {})
        self.parts: dict[str, nn.Module] = {}
        self.branch = build_control(config.branch)

    def forward(
        self, x: Float[Tensor, "b c h w"], c_noise: Float[Tensor, " b"], condition: Condition
    ) -> tuple[Tensor, ...]:
        """Residuals for the base's network; see `melies.nn.control`."""
        return self.branch(x, c_noise, condition)

    @property
    def num_residuals(self) -> int:
        """How many residuals it gives."""
        return self.branch.num_residuals

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def number_of(self, kind: str) -> int:
        """The number by which the branch is told a kind.

        Raises:
            UserError: If it does not know it.
        """
        numbers = {name: number for number, name in enumerate(self.config.kinds)}
        return choose(kind, numbers, "kind of hint for this control branch")

    def as_input(self, hints: UInt8[Tensor, "b _ h w"]) -> Float[Tensor, "b c h w"]:
        """Hints in [0, 1], with as many channels as the branch reads.

        Raises:
            UserError: If they are of another size.
        """
        side, channels = self.config.branch.hint_size, self.config.branch.hint_channels
        if tuple(hints.shape[2:]) != (side, side):
            raise UserError(
                f"hints of {hints.shape[2]}×{hints.shape[3]} for a branch that reads {side}×{side}"
            )
        return (hints.float() / 255).expand(-1, channels, -1, -1).to(self.device)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steering:
    """One hint of each picture, the branch that reads it, how strongly it acts, and where."""

    branch: PictureControl
    """The branch."""
    kind: str
    """What the hints are."""
    hints: UInt8[Tensor, "b _ h w"]
    """One for each picture, 0 … 255, at the branch's size; grey or RGB."""
    scale: float | tuple[float, ...] = 1.0
    """What the residuals are multiplied by: all of them, or each in the branch's order; 0 is off."""
    window: tuple[float, float] = (0.0, 1.0)
    """Part of the steps in which it acts, as shares of the run."""
    interval: tuple[float, float] = EVERYWHERE
    """Noise levels σ at which it acts, above the first, up to the second; both must hold."""


def new_branch(
    model: ImageDiffusion, kinds: Sequence[str], *, depth: int = 2, hint_width: int = 16
) -> PictureControl:
    """A branch for a model: a copy of its network's first part, which changes nothing yet.

    Args:
        model: The base.
        kinds: What its hints will be.
        depth: Blocks of a transformer to copy; 0 for the hint alone.
        hint_width: Channels of the hint encoder at the hint's own size.
    """
    network = model.config.network
    patch = network.patch if isinstance(network, TransformerConfig) else 1
    config = ControlConfig(
        network=network,
        num_kinds=len(kinds),
        depth=depth,
        reduction=model.config.size // model.shape[-1] * patch,
        hint_width=hint_width,
    )
    made = PictureControl(ControlBranchConfig(branch=config, kinds=tuple(kinds)))
    made.branch.copy_from(model.denoiser.network)  # type: ignore[arg-type]
    return made


def steered(
    model: ImageDiffusion, steering: Sequence[Steering], sigmas: Tensor, *, guess: bool = False
) -> Controlled:
    """The model with its control branches, for one run.

    Args:
        model: The base; it is shared, not copied.
        steering: Branches and hints.
        sigmas: The grid of the run.
        guess: Whether each residual has its scale of the guess mode.

    Raises:
        UserError: If a branch is made for another network, or acts in no step.
    """
    controls = []
    for one in steering:
        if one.branch.config.branch.network != model.config.network:
            raise UserError("the control branch is made for another network than the model's")
        low, high = steps_interval(sigmas, *one.window)
        interval = max(low, one.interval[0]), min(high, one.interval[1])
        scale = one.scale
        if guess:
            if isinstance(scale, tuple):
                raise UserError("the guess mode has scales of its own", remedy="give one control scale")
            scale = guess_scales(one.branch.num_residuals, scale)
        controls.append(Control(branch=one.branch, scale=scale, interval=interval))
    return Controlled(model, controls)


@torch.no_grad()
def hint_condition(steering: Sequence[Steering], rows: slice = slice(None)) -> dict[str, Tensor]:
    """What the condition says of the hints of some pictures: each encoded once, for all steps of a run."""
    encoded, kinds = [], []
    for one in steering:
        pixels = one.branch.as_input(one.hints[rows])
        encoded.append(one.branch.branch.hint(pixels))
        kinds.append(torch.full((len(pixels),), one.branch.number_of(one.kind), device=pixels.device))
    return {"hint_encoded": torch.stack(encoded, 1), "hint_kind": torch.stack(kinds, 1)}


def read_branch(name: str | Path, base: checkpoint.Loaded) -> checkpoint.Loaded:
    """A control branch by name or path, once it is sure to be made for these weights.

    Raises:
        UserError: If it is not found, damaged, another kind of model, or made for another base.
    """
    loaded = checkpoint.load(name)
    if not isinstance(loaded.model, PictureControl):
        raise UserError(
            f"{loaded.kind} is not a control branch",
            where=str(name),
            remedy="melies train control-emoji makes one",
        )
    made_for, here = loaded.provenance.get("base_sha256"), weights_of(base)
    if made_for != here:
        told = loaded.provenance.get("base", "a base that it does not name")
        raise UserError(
            f"the control branch {loaded.folder.name!r} is made for {told}, and not for"
            f" {checkpoint.origin(base.folder)}",
            where=str(name),
            remedy="draw with the model that it was trained beside, or train one for this model",
        )
    loaded.model.requires_grad_(False).to(best_device())
    return loaded


def weights_of(base: checkpoint.Loaded) -> str:
    """The hexadecimal SHA-256 of a model's weights, by which a branch knows its base."""
    return file_sha256(checkpoint.weights_file(base.folder))


def restore(
    config: Mapping[str, Any], transforms: Mapping[str, Transform], parts: Mapping[str, Any]
) -> PictureControl:
    """Build a branch from the config of a checkpoint."""
    return PictureControl(from_json(ControlBranchConfig, config), transforms)
