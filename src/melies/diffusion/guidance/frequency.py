"""Frequency-decoupled guidance: one scale for detail, another for layout and colour (Sadat et al. 2025)."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from melies.diffusion import SAMPLERS
from melies.diffusion.guidance.bind import (
    Evaluated,
    Scale,
    Trace,
    bind_rule,
    check_scale,
    only_what_counts,
    scale_table,
)
from melies.errors import UserError
from melies.interfaces import Branch, Denoise


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrequencyDecoupled:
    """u + Σ scale_k·band_k(c − u), with the bands of a Laplacian pyramid, which sum to the whole."""

    scales: tuple[Scale, ...]
    """From the finest band to what is left of the coarsest; two or more. 1 is off."""

    @property
    def space(self) -> str:
        """Where it acts; being linear it acts the same in every space."""
        return "x0"

    @property
    def samplers(self) -> tuple[str, ...]:
        """It fits every sampler."""
        return tuple(SAMPLERS)

    def __post_init__(self) -> None:
        """Check that there are two numbers, and that they are finite."""
        if len(self.scales) < 2:
            raise UserError("one band is plain guidance", remedy="give two scales or more, the finest first")
        for scale in self.scales:
            check_scale(scale)

    def bind(
        self,
        branches: Mapping[str, Branch],
        sigmas: Tensor,
        *,
        valid: Tensor | None = None,
        trace: Trace | None = None,
    ) -> Denoise:
        """A bound denoiser for one run, on pictures or latents (b, c, h, w).

        Args:
            branches: "conditional", and "null" or, in its place, "negative".
            sigmas: The grid of the run.
            valid: Not needed: pictures have no padding.
            trace: As of `ClassifierFreeGuidance.bind`, with `scale_0`, `scale_1` … for `scale`.

        Raises:
            ValueError: If a branch is missing, or the number of scales is not that of the steps.
            UserError: When called, if x is no picture or too small for that many bands.

        Source: Sadat et al. (2025), "Guidance in the frequency domain enables high-fidelity sampling at
        low CFG scales", without its weights of the parallel part.
        """
        other = "negative" if "negative" in branches else "null"

        def rule(at: Evaluated) -> Tensor:
            if len(at.x0) == 1:
                return next(iter(at.x0.values()))
            base = at.x0[other]
            parts = bands(at.x0["conditional"] - base, len(self.scales))
            return base + sum(at.scale(f"scale_{k}") * part for k, part in enumerate(parts))

        return bind_rule(
            rule,
            only_what_counts(other),
            {f"scale_{k}": scale_table(scale, sigmas) for k, scale in enumerate(self.scales)},
            branches,
            sigmas,
            method="frequency-decoupled guidance",
            trace=trace,
        )


def bands(x: Float[Tensor, "*shape"], count: int) -> list[Float[Tensor, "*shape"]]:
    """The bands of a Laplacian pyramid, each at full size, finest first; they sum to x.

    Raises:
        UserError: If x has not four axes, or a side is too short.

    Source: Burt & Adelson (1983), "The Laplacian pyramid as a compact image code".
    """
    if x.ndim != 4:
        raise UserError(
            f"bands of frequency need pictures, and x has {x.ndim} axes", remedy="take another way of guiding"
        )
    shortest = 2 ** (count - 1) + 1  # the filter is mirrored over two pixels at every size but the last
    if min(x.shape[-2:]) < shortest:
        raise UserError(
            f"{count} bands need sides of {shortest} or more, and x has {x.shape[-2]}×{x.shape[-1]}",
            remedy="give fewer scales",
        )
    sizes, low = [], x
    coarse = [x]
    for _ in range(count - 1):
        sizes.append(low.shape[-2:])
        half = [-(-side // 2) for side in low.shape[-2:]]
        low = F.interpolate(_blurred(low), size=half, mode="bilinear", align_corners=False)
        coarse.append(low)
    smooth = [x]
    for level, picture in enumerate(coarse[1:], 1):
        for size in reversed(sizes[:level]):
            picture = _blurred(F.interpolate(picture, size=size, mode="bilinear", align_corners=False))
        smooth.append(picture)
    return [*(finer - coarser for finer, coarser in pairwise(smooth)), smooth[-1]]


def _blurred(x: Tensor) -> Tensor:
    """Binomial filter 1 4 6 4 1 along both axes, mirrored at the border."""
    channels = x.shape[1]
    kernel = x.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    weight = (kernel[:, None] * kernel).expand(channels, 1, 5, 5)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), weight, groups=channels)
