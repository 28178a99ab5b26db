"""Invertible data maps, saved with the weights so that decoding needs only the checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from melies.errors import UserError, choose


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelRange:
    """Bytes 0 … 255 to floats −1 … 1 and back, rounding to the nearest byte."""

    def forward(self, pixels: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Bytes to floats in [−1, 1]."""
        return pixels.float() / 127.5 - 1

    def inverse(self, x: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
        """Floats to bytes; values outside [−1, 1] are clipped."""
        return ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)

    def to_json(self) -> dict[str, Any]:
        """The map as JSON."""
        return {"type": "PixelRange"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standardize:
    """Per-channel z = (x − mean) / std; channels are the second axis."""

    mean: tuple[float, ...]
    """One mean per channel, in the units of x."""
    std: tuple[float, ...]
    """One standard deviation per channel, in the units of x; above 0."""

    def __post_init__(self) -> None:
        """Check the lengths and signs."""
        if len(self.mean) != len(self.std) or not all(std > 0 for std in self.std):
            raise UserError("mean and std must be of one length, and std above 0", where="Standardize")

    def forward(self, x: Float[Tensor, "b c *shape"]) -> Float[Tensor, "b c *shape"]:
        """To mean 0 and standard deviation 1 per channel."""
        mean, std = self._like(x)
        return (x - mean) / std

    def inverse(self, z: Float[Tensor, "b c *shape"]) -> Float[Tensor, "b c *shape"]:
        """Back to the units of x."""
        mean, std = self._like(z)
        return z * std + mean

    def to_json(self) -> dict[str, Any]:
        """The map as JSON."""
        return {"type": "Standardize", "mean": list(self.mean), "std": list(self.std)}

    def _like(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return x.new_tensor(self.mean).view(shape), x.new_tensor(self.std).view(shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardizeSteps:
    """A track (b, c, n) as its first frame and the steps between frames, each standardised per channel.

    Steps may be bent before: asinh(step/knee) is the step itself where it is much smaller than the knee, and
    its logarithm where it is much larger, so that a slow step and none at all stay apart beside fast ones.
    """

    start_mean: tuple[float, ...]
    """One mean per channel of the first frame, in the units of the track."""
    start_std: tuple[float, ...]
    """Its standard deviation; above 0."""
    step_mean: tuple[float, ...]
    """One mean per channel of the steps, in units a frame."""
    step_std: tuple[float, ...]
    """Their standard deviation; above 0."""
    knee: tuple[float, ...] = ()
    """One size of step per channel at which they begin to bend, in units a frame, above 0; none: they do not.
    The mean and standard deviation of steps are then those of bent ones."""

    def __post_init__(self) -> None:
        """Check the lengths and signs."""
        parts = [self.start_mean, self.start_std, self.step_mean, self.step_std]
        lengths = {len(part) for part in ([*parts, self.knee] if self.knee else parts)}
        if len(lengths) > 1 or not all(x > 0 for x in (*self.start_std, *self.step_std, *self.knee)):
            raise UserError(
                "all must be of one length, and standard deviations and knees above 0",
                where="StandardizeSteps",
            )

    def forward(self, x: Float[Tensor, "b c n"]) -> Float[Tensor, "b c n"]:
        """Positions to standardised first frame and steps."""
        start, step = self._parts()
        steps = x.diff(dim=-1)
        if self.knee:
            steps = (steps / self._knee(x)).asinh()
        return torch.cat([start.forward(x[..., :1]), step.forward(steps)], -1)

    def inverse(self, z: Float[Tensor, "b c n"]) -> Float[Tensor, "b c n"]:
        """Back to positions."""
        start, step = self._parts()
        steps = step.inverse(z[..., 1:])
        if self.knee:
            steps = steps.sinh() * self._knee(z)
        return torch.cat([start.inverse(z[..., :1]), steps], -1).cumsum(-1)

    def to_json(self) -> dict[str, Any]:
        """The map as JSON."""
        names = ("start_mean", "start_std", "step_mean", "step_std", *(("knee",) if self.knee else ()))
        return {"type": "StandardizeSteps", **{name: list(getattr(self, name)) for name in names}}

    def _knee(self, x: Tensor) -> Tensor:
        return x.new_tensor(self.knee)[:, None]

    def _parts(self) -> tuple[Standardize, Standardize]:
        return (
            Standardize(mean=self.start_mean, std=self.start_std),
            Standardize(mean=self.step_mean, std=self.step_std),
        )


Transform = PixelRange | Standardize | StandardizeSteps
TRANSFORMS = {"PixelRange": PixelRange, "Standardize": Standardize, "StandardizeSteps": StandardizeSteps}


def fit_standardize(x: Float[Tensor, "n c *shape"]) -> Standardize:
    """The per-channel standardisation of a data set."""
    axes = [0, *range(2, x.ndim)]
    return Standardize(mean=tuple(x.mean(axes).tolist()), std=tuple(x.std(axes).clamp(min=1e-6).tolist()))


def transform_from_json(data: Any, *, where: str) -> Transform:
    """The transform that `to_json` wrote.

    Raises:
        UserError: If the type is unknown or a field does not fit; `where` is named.
    """
    if not isinstance(data, Mapping):
        raise UserError(f"expected an object for a transform, got {data!r}", where=where)
    cls = choose(str(data.get("type")), TRANSFORMS, f"transform in {where}")
    try:
        return cls(**{name: tuple(map(float, value)) for name, value in data.items() if name != "type"})
    except (TypeError, ValueError) as error:
        raise UserError(f"cannot read transform {cls.__name__}: {error}", where=where) from None
