"""A picture model that is trained itself to keep to hints: what a locked base is compared with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from melies.config import from_json
from melies.diffusion.control import Control, Controlled
from melies.images.codec import ImageCodec
from melies.images.control import ControlBranchConfig, PictureControl
from melies.images.model import ImageDiffusion, ImageDiffusionConfig
from melies.interfaces import Condition
from melies.transform import Transform


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedControlConfig:
    """What such a model is made of."""

    model: ImageDiffusionConfig
    """The picture model."""
    control: ControlBranchConfig
    """What reads the hints."""


class TunedControl(nn.Module):
    """A picture model and what reads its hints, trained together: `(x, sigma, condition) → x0`."""

    kind = "tuned-control"

    def __init__(self, model: ImageDiffusion, control: PictureControl) -> None:
        """Put them together; the model's codec and text encoder are not of the weights."""
        super().__init__()
        self.model, self.control = model, control
        self.config = TunedControlConfig(model=model.config, control=control.config)
        self.transforms: dict[str, Transform] = dict(model.transforms)
        self.parts: dict[str, nn.Module] = dict(model.parts)

    def forward(
        self, x: Float[Tensor, "b c h w"], sigma: Float[Tensor, " b"], condition: Condition
    ) -> Float[Tensor, "b c h w"]:
        """Denoise, steered by the hints in the condition."""
        return Controlled(self.model, [Control(branch=self.control)])(x, sigma, condition)


def restore(
    config: Mapping[str, Any], transforms: Mapping[str, Transform], parts: Mapping[str, Any]
) -> TunedControl:
    """Build such a model from the config of a checkpoint and its nested parts."""
    read = from_json(TunedControlConfig, config)
    codec: ImageCodec | None = parts.get("codec")
    return TunedControl(
        ImageDiffusion(read.model, codec=codec, transforms=transforms), PictureControl(read.control)
    )
