"""Adaptive projected guidance: less of the part that oversaturates (Sadat et al. 2024)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from melies.config import check_positive, check_range
from melies.diffusion import SAMPLERS
from melies.diffusion.guidance.bind import (
    Evaluated,
    Scale,
    Trace,
    bind_rule,
    check_scale,
    conditional_or_both,
    scale_table,
)
from melies.diffusion.guidance.measure import norm, parallel
from melies.interfaces import Branch, Denoise


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Projected:
    """c + (scale − 1)·(Δ⊥ + share·Δ∥), with Δ = c − u split along c, carried on and limited in length."""

    scale: Scale
    """1 is off."""
    parallel_share: float = 0.0
    """η of the paper: how much of the part along c is kept; 1 with no limit and no momentum is plain."""
    largest_norm: float = math.inf
    """r of the paper: the largest length of Δ, in units of x0 over a whole sample."""
    momentum: float = 0.0
    """β of the paper: the share of all earlier Δ that is added; the paper takes negative ones."""

    @property
    def space(self) -> str:
        """Where it acts."""
        return "x0"

    @property
    def samplers(self) -> tuple[str, ...]:
        """Any; with momentum those that evaluate once per step, since it counts evaluations."""
        return tuple(name for name in SAMPLERS if not self.momentum or name != "heun")

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_scale(self.scale)
        check_range("parallel_share", self.parallel_share)
        check_range("momentum", self.momentum, low=-1.0, high=1.0)
        if self.largest_norm != math.inf:
            check_positive("largest_norm", self.largest_norm)

    def bind(
        self,
        branches: Mapping[str, Branch],
        sigmas: Tensor,
        *,
        valid: Tensor | None = None,
        trace: Trace | None = None,
    ) -> Denoise:
        """A bound denoiser for one run, with a momentum of its own.

        Args:
            branches: "conditional", and "null" or, in its place, "negative".
            sigmas: The grid of the run.
            valid: True = real elements (b, …), which alone count in lengths and products.
            trace: As of `ClassifierFreeGuidance.bind`.

        Raises:
            ValueError: If a branch is missing, or the number of scales is not that of the steps.

        Source: Sadat et al. (2024), "Eliminating oversaturation and artifacts of high guidance scales
        in diffusion models".
        """
        other = "negative" if "negative" in branches else "null"
        carried: list[Tensor] = []

        def rule(at: Evaluated) -> Tensor:
            conditional = at.x0["conditional"]
            if len(at.x0) == 1:
                return conditional
            change = conditional - at.x0[other]
            if self.momentum:
                if carried:
                    change = change + self.momentum * carried.pop()
                carried.append(change)
            if self.largest_norm != math.inf:
                length = norm(change, valid)
                change = change * torch.where(length > self.largest_norm, self.largest_norm / length, 1.0)
            along = parallel(change, conditional, valid)
            return conditional + (at.scale() - 1) * (change - (1 - self.parallel_share) * along)

        return bind_rule(
            rule,
            conditional_or_both(other),
            {"scale": scale_table(self.scale, sigmas)},
            branches,
            sigmas,
            method="projected guidance",
            trace=trace,
        )
