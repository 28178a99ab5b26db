"""Pictures changed a little, each in its own measure: a classifier is to learn what is drawn, and not how."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from melies.config import check_positive, check_range
from melies.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How much pictures are changed; the defaults are for drawings that a latent codec makes."""

    zoom: tuple[float, float] = (0.88, 1.14)
    """Least and largest share of the picture's side that is shown."""
    shift: float = 0.09
    """Largest shift, in halves of the picture's side."""
    mirrored: float = 0.0
    """Share of pictures shown mirrored."""
    softness: float = 1.0
    """Largest share by which a picture is replaced by a coarser one; a quarter stays sharp."""
    coarse: tuple[int, int] = (2, 4)
    """Pixels of the two coarser pictures, along a side; the finer one serves in six of ten batches."""
    stains: float = 0.08
    """Largest strength of noise in cells of 8×8 pixels."""
    grain: float = 0.06
    """Largest strength of noise in single pixels."""
    contrast: float = 0.05
    """Largest change of all levels, as a share; colours stay, for they tell skin tones apart."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("shift", "mirrored", "softness", "stains", "grain"):
            check_range(name, getattr(self, name), low=0, high=1)
        check_range("contrast", self.contrast, low=0, high=0.9)
        for share in self.zoom:
            check_positive("zoom", share)
        for factor in self.coarse:
            check_range("coarse", factor, low=1, high=64)
        if self.zoom[0] > self.zoom[1]:
            raise UserError(f"zoom = {self.zoom} is not in order", remedy="give the lesser share first")


def augment(
    pixels: Float[Tensor, "b c h w"], rng: torch.Generator, how: Augmentation | None = None
) -> Float[Tensor, "b c h w"]:
    """Pictures in [−1, 1] moved, scaled, mirrored, softened and stained, in that order.

    Args:
        pixels: Pictures.
        rng: The only randomness.
        how: How much; None for the defaults.
    """
    how = how or Augmentation()
    x = _moved(pixels, rng, how)
    if how.softness:
        # One coarseness for the batch, for speed.
        fine = bool(torch.rand((), generator=rng) < 0.6)
        share = _drawn(x, rng, -0.33, 1.0).clamp_min(0) * (1.0 if fine else 0.6)
        x = torch.lerp(x, _coarse(x, how.coarse[0] if fine else how.coarse[1]), how.softness * share)
    b, c, h, w = x.shape
    if how.stains:
        cells = torch.randn((b, c, -(-h // 8), -(-w // 8)), generator=rng).to(x)
        x = x + _drawn(x, rng, 0, how.stains) * F.interpolate(cells, (h, w), mode="nearest")
    if how.grain:
        shared = torch.randn((-(-b // 4), c, h, w), generator=rng).to(x)  # by four pictures, for speed
        x = x + _drawn(x, rng, 0, how.grain) * shared.repeat(4, 1, 1, 1)[:b]
    return (x * _drawn(x, rng, 1 - how.contrast, 1 + how.contrast)).clamp(-1, 1)


def _moved(pixels: Tensor, rng: torch.Generator, how: Augmentation) -> Tensor:
    zoom = _drawn(pixels, rng, *how.zoom).flatten()
    sideways = _drawn(pixels, rng, -how.shift, how.shift).flatten()
    upwards = _drawn(pixels, rng, -how.shift, how.shift).flatten()
    mirrored = torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
    if how.mirrored:
        mirrored = _drawn(pixels, rng, 0, 1).flatten() < how.mirrored
    return move(pixels, zoom, sideways, upwards, mirrored)


def move(
    pixels: Float[Tensor, "b c h w"],
    zoom: Float[Tensor, " b"],
    sideways: Float[Tensor, " b"],
    upwards: Float[Tensor, " b"],
    mirrored: Bool[Tensor, " b"],
) -> Float[Tensor, "b c h w"]:
    """Pictures scaled, shifted and mirrored; what was outside is as their edges are.

    Args:
        pixels: Pictures.
        zoom: Share of the side that is shown: above 1 they become smaller.
        sideways: Shift of what is shown, in halves of the side.
        upwards: The same along the other.
        mirrored: Which are turned round.
    """
    b, _, h, w = pixels.shape
    across = zoom[:, None] * _centres(w).to(pixels) + sideways[:, None]
    down = zoom[:, None] * _centres(h).to(pixels) + upwards[:, None]
    across = torch.where(mirrored[:, None], -across, across)
    places = torch.stack([across[:, None, :].expand(b, h, w), down[:, :, None].expand(b, h, w)], -1)
    return F.grid_sample(pixels, places, padding_mode="border", align_corners=False)


def _drawn(like: Tensor, rng: torch.Generator, low: float, high: float) -> Tensor:
    """A number for each picture, (b, 1, 1, 1)."""
    return (low + (high - low) * torch.rand((len(like), 1, 1, 1), generator=rng)).to(like)


def _coarse(x: Tensor, factor: int) -> Tensor:
    """The picture at a fraction of its size, enlarged again."""
    return F.interpolate(F.avg_pool2d(x, factor, ceil_mode=True), x.shape[2:], mode="bilinear")


def _centres(size: int) -> Tensor:
    """Centres of pixels along a side, on the scale −1 … 1 of the picture's edges."""
    return (2 * torch.arange(size) + 1) / size - 1
