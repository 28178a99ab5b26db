"""The diffusion model of pictures: codec, text encoder and denoiser put together.

The denoiser works on x0 space: standardised latents where a codec is nested in the checkpoint,
pixels in [−1, 1] where none is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from melies.config import check_positive, check_range, from_json
from melies.diffusion.precondition import Preconditioned
from melies.errors import UserError, choose
from melies.images.codec import ImageCodec
from melies.interfaces import AttentionEdit, Condition, Residuals
from melies.nn.transformer import Transformer, TransformerConfig
from melies.nn.unet import UNet, UNetConfig
from melies.text.config import TextConfig
from melies.text.reader import TextReader
from melies.transform import Standardize, Transform


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDiffusionConfig:
    """What a diffusion model of pictures is made of."""

    network: TransformerConfig | UNetConfig
    """The denoising network."""
    size: int = 64
    """Side of the pictures, in pixels."""
    channels: int = 3
    """Channels of a picture: 1 or 3."""
    sigma_data: float = 1.0
    """Standard deviation of x0; 1 for standardised latents, about 0.5 for pixels."""
    sigma_min: float = 0.01
    """Smallest noise level worth a step, in units of x0."""
    sigma_max: float = 80.0
    """Noise level from which sampling starts."""
    text: TextConfig | None = None
    """The text encoder; None for a model without text."""
    classes: tuple[str, ...] = ()
    """Names of the classes; empty for a model without classes."""

    def __post_init__(self) -> None:
        """Check the ranges, and that the parts fit."""
        for name in ("size", "sigma_data", "sigma_min"):
            check_positive(name, getattr(self, name))
        check_range("sigma_max", self.sigma_max, low=self.sigma_min, low_open=True)
        if len(self.classes) != self.network.num_classes:
            raise UserError(
                f"{len(self.classes)} class names for a network of {self.network.num_classes} classes"
            )
        if (self.text is None) != (self.network.text_dim == 0):
            raise UserError("text and network.text_dim must be given together, or neither")
        if self.network.learned_variance:
            raise UserError("a model of pictures has no use for learned_variance", where="network")


class ImageDiffusion(TextReader):
    """A denoiser of pictures with all that is needed to draw: the call is (x, sigma, condition) → x0."""

    kind = "image-diffusion"

    def __init__(
        self,
        config: ImageDiffusionConfig,
        *,
        codec: ImageCodec | None = None,
        transforms: Mapping[str, Transform] | None = None,
        text_encoder: Any | None = None,
    ) -> None:
        """Put the parts together; the network starts untrained.

        Args:
            config: What to build.
            codec: Nested in the checkpoint, frozen; None for a model in pixels.
            transforms: `"latent"`: the standardisation of the codec's latents.
            text_encoder: A frozen encoder that is already loaded, so as not to load it again.
        """
        super().__init__(config.text, text_encoder)
        self.config = config
        self.transforms: dict[str, Transform] = dict(transforms or {})
        self.parts: dict[str, nn.Module] = {"codec": codec.eval().requires_grad_(False)} if codec else {}
        match config.network:
            case TransformerConfig():
                network: nn.Module = Transformer(config.network)
            case UNetConfig():
                network = UNet(config.network)
        if codec is not None and config.size % codec.config.reduction:
            raise UserError(
                f"size = {config.size} does not divide by {codec.config.reduction}, the codec's reduction"
            )
        self.denoiser = Preconditioned(network, sigma_data=config.sigma_data)

    def __deepcopy__(self, memo: dict) -> "ImageDiffusion":
        """Copy the weights only: the frozen parts and the text encoder are shared."""
        fresh = type(self)(
            self.config,
            codec=self.parts.get("codec"),  # type: ignore[arg-type]
            transforms=self.transforms,
            text_encoder=self._frozen_text[0] if self._frozen_text else None,
        )
        fresh.load_state_dict(self.state_dict())
        return fresh.to(next(self.parameters()).device)

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        sigma: Float[Tensor, " b"],
        condition: Condition,
        *,
        attention: AttentionEdit | None = None,
        residuals: Residuals | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """Denoise: the expected x0 of x = x0 + σ·ε, with the text as token ids or as states."""
        states = self.with_states(condition)
        return self.denoiser(x, sigma, states, attention=attention, residuals=residuals)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one x0."""
        codec = self.parts.get("codec")
        if codec is None:
            return (self.config.channels, self.config.size, self.config.size)
        side = self.config.size // codec.config.reduction  # type: ignore[union-attr]
        return (codec.config.latent_channels, side, side)  # type: ignore[union-attr]

    @torch.no_grad()
    def encode(self, pixels: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Pictures in [−1, 1] to x0."""
        if "codec" not in self.parts:
            return pixels
        return self._latent().forward(self.parts["codec"].encode(pixels))  # type: ignore[operator]

    @torch.no_grad()
    def decode(self, x0: Float[Tensor, "b d h2 w2"]) -> Float[Tensor, "b c h w"]:
        """x0 to pictures, about [−1, 1]."""
        if "codec" not in self.parts:
            return x0
        return self.parts["codec"].decode(self._latent().inverse(x0))  # type: ignore[operator]

    @torch.no_grad()
    def condition_on(self, texts: Sequence[str] = (), classes: Sequence[str] = ()) -> dict[str, Tensor]:
        """The condition of a batch: texts, class names, or both, one of each per picture.

        Raises:
            UserError: If the model lacks what is asked, or a class is unknown.
        """
        condition: dict[str, Tensor] = {}
        if texts:
            tokens, valid = self.read_texts(texts)
            condition |= {"text": tokens, "text_valid": valid}
        if classes:
            if not self.config.classes:
                raise UserError("this model has no classes", remedy="describe the picture in words")
            index = {name: i for i, name in enumerate(self.config.classes)}
            chosen = [choose(name, index, "class") for name in classes]
            condition["class"] = torch.tensor(chosen, device=self.device)
        return condition

    def null_condition(self, like: Condition) -> dict[str, Tensor]:
        """The null of a condition: the same tensors, marked as not present; of none, none."""
        if not like:
            return {}
        b = len(next(iter(like.values())))
        absent = torch.zeros(b, dtype=torch.bool, device=self.device)
        names = [name for name in ("text", "class") if name in like]
        return {**like, **{f"present.{name}": absent for name in names}}

    def _latent(self) -> Standardize:
        transform = self.transforms.get("latent")
        if not isinstance(transform, Standardize):
            raise UserError("the checkpoint has a codec but no latent statistics")
        return transform


def restore(
    config: Mapping[str, Any], transforms: Mapping[str, Transform], parts: Mapping[str, Any]
) -> ImageDiffusion:
    """Build a model from the config of a checkpoint and its nested parts."""
    return ImageDiffusion(
        from_json(ImageDiffusionConfig, config), codec=parts.get("codec"), transforms=transforms
    )
