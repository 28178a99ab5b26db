"""Rescaled guidance: the deviation of the conditional prediction is kept (Lin et al. 2023)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from melies.config import check_range
from melies.diffusion import SAMPLERS
from melies.diffusion.adapt import FROM_X0, X0_FROM
from melies.diffusion.guidance.bind import (
    Evaluated,
    Scale,
    Trace,
    bind_rule,
    check_scale,
    conditional_or_both,
    scale_table,
)
from melies.diffusion.guidance.classifier_free import extrapolate
from melies.diffusion.guidance.measure import deviation
from melies.errors import choose
from melies.interfaces import Branch, Denoise


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rescaled:
    """Guidance g, drawn towards g·std(c)/std(g), which undoes the overexposure of high scales."""

    scale: Scale
    """1 is off."""
    share: float = 0.7
    """φ of the paper: 0 is plain guidance, 1 has the deviation of c."""
    space: str = "x0"
    """Where the deviations are taken: "x0", "epsilon" or "velocity"; what they do differs."""

    @property
    def samplers(self) -> tuple[str, ...]:
        """It fits every sampler."""
        return tuple(SAMPLERS)

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_scale(self.scale)
        check_range("share", self.share, low=0.0, high=1.0)
        choose(self.space, ("x0", "epsilon", "velocity"), "space")

    def bind(
        self,
        branches: Mapping[str, Branch],
        sigmas: Tensor,
        *,
        valid: Tensor | None = None,
        trace: Trace | None = None,
    ) -> Denoise:
        """A bound denoiser for one run.

        Args:
            branches: "conditional", and "null" or, in its place, "negative".
            sigmas: The grid of the run.
            valid: True = real elements (b, …), which alone count in the deviations.
            trace: As of `ClassifierFreeGuidance.bind`.

        Raises:
            ValueError: If a branch is missing, or the number of scales is not that of the steps.

        Source: Lin et al. (2023), "Common diffusion noise schedules and sample steps are flawed", §3.4.
        """
        other = "negative" if "negative" in branches else "null"

        def rule(at: Evaluated) -> Tensor:
            conditional = at.x0["conditional"]
            if len(at.x0) == 1:
                return conditional
            guided = extrapolate(at, other)
            sigma = at.sigma.to(guided)
            c, g = (FROM_X0[self.space](at.x, sigma, x0) for x0 in (conditional, guided))
            wanted, found = deviation(c, valid), deviation(g, valid)
            factor = wanted / torch.where(found > 0, found, torch.ones_like(found))
            return X0_FROM[self.space](at.x, sigma, torch.lerp(g, g * factor, self.share))

        return bind_rule(
            rule,
            conditional_or_both(other),
            {"scale": scale_table(self.scale, sigmas)},
            branches,
            sigmas,
            method="rescaled guidance",
            trace=trace,
        )
