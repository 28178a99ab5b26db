"""CFG-Zero*: the null scaled to fit the condition, and no movement at first (Fan et al. 2025)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from melies.config import check_range
from melies.diffusion.adapt import velocity_from_x0, x0_from_velocity
from melies.diffusion.guidance.bind import (
    Evaluated,
    Scale,
    Scales,
    Trace,
    bind_rule,
    check_scale,
    conditional_or_both,
    scale_table,
)
from melies.diffusion.guidance.measure import dot
from melies.interfaces import Branch, Denoise


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ZeroStar:
    """v = s*·v_u + scale·(v_c − s*·v_u) with s* = ⟨v_c, v_u⟩/‖v_u‖², on velocities ε − x0.

    The first steps have velocity 0, which leaves the flow's x where it is, and cost nothing.
    """

    scale: Scale
    """1 is off."""
    zero_steps: int = 1
    """Steps at the start that do not move; the paper takes 4 % of them."""

    @property
    def space(self) -> str:
        """Where it acts."""
        return "velocity"

    @property
    def samplers(self) -> tuple[str, ...]:
        """Steps along the flow alone, and of first order while it stands still.

        Others would take the motion of the next step for half of the last that does not move, or standing
        for motion.
        """
        return ("euler", "ddim") if self.zero_steps else ("euler", "heun", "ddim", "dpmpp")

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_scale(self.scale)
        check_range("zero_steps", self.zero_steps, low=0)

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
            valid: True = real elements (b, …), which alone count in s*.
            trace: As of `ClassifierFreeGuidance.bind`; `zero` is 1 in the steps that do not move.

        Raises:
            ValueError: If a branch is missing, or the number of scales is not that of the steps.

        Source: Fan et al. (2025), "CFG-Zero*: improved classifier-free guidance for flow matching models".
        """
        other = "negative" if "negative" in branches else "null"
        both = conditional_or_both(other)

        def needed(scales: Scales) -> tuple[str, ...]:
            return () if bool((scales["zero"] == 1).all()) else both({"scale": scales["scale"]})

        def rule(at: Evaluated) -> Tensor:
            still = x0_from_velocity(at.x, at.sigma.to(at.x), torch.zeros_like(at.x))
            if not at.x0:
                return still
            if len(at.x0) == 1:
                moved = at.x0["conditional"]
            else:
                sigma = at.sigma.to(at.x0[other])
                v_c, v_u = (velocity_from_x0(at.x, sigma, at.x0[name]) for name in ("conditional", other))
                squared = dot(v_u, v_u, valid)
                fitted = dot(v_c, v_u, valid) / torch.where(squared > 0, squared, torch.ones_like(squared))
                base = fitted * v_u
                moved = x0_from_velocity(at.x, sigma, torch.lerp(base, v_c, at.scale()))
            return torch.where(at.scale("zero") == 1, still.to(moved), moved)

        zero = torch.arange(len(sigmas) - 1)[None] < self.zero_steps
        return bind_rule(
            rule,
            needed,
            {"scale": scale_table(self.scale, sigmas), "zero": zero.double()},
            branches,
            sigmas,
            method="CFG-Zero*",
            trace=trace,
        )
