"""Negative prompts beyond plain replacement: signed, perpendicular, and in a window of noise levels.

The plain one, where the negative takes the place of the null, is a "negative" branch given to
`ClassifierFreeGuidance`. All rules here are linear in x0 or invariant to a common factor per
sample, so that they act the same in every space.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from melies.config import check_range
from melies.diffusion import SAMPLERS
from melies.diffusion.guidance.bind import (
    Evaluated,
    Rule,
    Scale,
    Scales,
    Trace,
    bind_rule,
    check_scale,
    in_window,
    only_what_counts,
    scale_table,
)
from melies.diffusion.guidance.measure import parallel
from melies.interfaces import Branch, Denoise


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _AwayFrom:
    """What the signed and the perpendicular rule share."""

    scale: Scale
    """Towards the condition: 1 is off."""
    weight: Scale = 1.0
    """Away from the negative, at least 0: 0 is off."""
    low: float = 0.0
    """The negative counts at σ above this, in units of x0 …"""
    high: float = math.inf
    """… and up to this."""

    @property
    def space(self) -> str:
        """Where it acts; it acts the same in every space."""
        return "x0"

    @property
    def samplers(self) -> tuple[str, ...]:
        """It fits every sampler."""
        return tuple(SAMPLERS)

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_scale(self.scale)
        check_scale(self.weight, "weight", low=0.0)
        in_window(torch.ones(2), self.low, self.high)

    def _bind(
        self, rule: Rule, branches: Mapping[str, Branch], sigmas: Tensor, trace: Trace | None
    ) -> Denoise:
        weight = scale_table(self.weight, sigmas, "weight")
        check_range("weight", float(weight.min()), low=0.0)
        weight = torch.where(in_window(sigmas, self.low, self.high), weight, torch.zeros_like(weight))
        plain = only_what_counts("null")

        def needed(scales: Scales) -> tuple[str, ...]:
            if bool((scales["weight"] == 0).all()):
                return plain({"scale": scales["scale"]})
            return ("conditional", "null", "negative")

        return bind_rule(
            rule,
            needed,
            {"scale": scale_table(self.scale, sigmas), "weight": weight},
            branches,
            sigmas,
            method=type(self).__name__,
            trace=trace,
        )


class SignedNegative(_AwayFrom):
    """u + scale·(c − u) − weight·(n − u): the condition and not the negative."""

    __slots__ = ()

    def bind(
        self,
        branches: Mapping[str, Branch],
        sigmas: Tensor,
        *,
        valid: Tensor | None = None,
        trace: Trace | None = None,
    ) -> Denoise:
        """A bound denoiser for one run; the negative is not evaluated outside its window.

        Args:
            branches: "conditional", "null" and "negative".
            sigmas: The grid of the run.
            valid: Not needed: each element is combined by itself.
            trace: As of `ClassifierFreeGuidance.bind`, with `weight` too.

        Raises:
            ValueError: If a branch is missing, or the number of scales is not that of the steps.
            UserError: If a weight is negative.

        Source: Liu et al. (2022), "Compositional visual generation with composable diffusion models".
        """

        def rule(at: Evaluated) -> Tensor:
            if "negative" not in at.x0:
                return _plain(at)
            c, u, n = (at.x0[name] for name in ("conditional", "null", "negative"))
            return u + at.scale() * (c - u) - at.scale("weight") * (n - u)

        return self._bind(rule, branches, sigmas, trace)


class PerpendicularNegative(_AwayFrom):
    """u + scale·(Δc − weight·Δn⊥), with Δ = · − u and Δn⊥ the part of Δn at a right angle to Δc.

    What the negative has in common with the condition is not taken away from it.
    """

    __slots__ = ()

    def bind(
        self,
        branches: Mapping[str, Branch],
        sigmas: Tensor,
        *,
        valid: Tensor | None = None,
        trace: Trace | None = None,
    ) -> Denoise:
        """A bound denoiser for one run; the negative is not evaluated outside its window.

        Args:
            branches: "conditional", "null" and "negative".
            sigmas: The grid of the run.
            valid: True = real elements (b, …), which alone count in the angle.
            trace: As of `ClassifierFreeGuidance.bind`, with `weight` too.

        Raises:
            ValueError: If a branch is missing, or the number of scales is not that of the steps.
            UserError: If a weight is negative.

        Source: Armandpour et al. (2023), "Re-imagine the negative prompt algorithm".
        """

        def rule(at: Evaluated) -> Tensor:
            if "negative" not in at.x0:
                return _plain(at)
            c, u, n = (at.x0[name] for name in ("conditional", "null", "negative"))
            towards, away = c - u, n - u
            away = away - parallel(away, towards, valid)
            return u + at.scale() * (towards - at.scale("weight") * away)

        return self._bind(rule, branches, sigmas, trace)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowedNegative:
    """Plain replacement of the null by the negative, at σ in (low, high] only.

    Negative prompts act late and, when given from the start, may draw what they are to avoid.
    """

    scale: Scale
    """1 is off."""
    low: float = 0.0
    """The negative counts at σ above this, in units of x0 …"""
    high: float = math.inf
    """… and up to this."""

    @property
    def space(self) -> str:
        """Where it acts; being linear it acts the same in every space."""
        return "x0"

    @property
    def samplers(self) -> tuple[str, ...]:
        """It fits every sampler."""
        return tuple(SAMPLERS)

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_scale(self.scale)
        in_window(torch.ones(2), self.low, self.high)

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
            branches: "conditional", "null" and "negative".
            sigmas: The grid of the run.
            valid: Not needed: each element is combined by itself.
            trace: As of `ClassifierFreeGuidance.bind`; `negative` is 1 in the window.

        Raises:
            ValueError: If a branch is missing, or the number of scales is not that of the steps.

        Source: Ban et al. (2024), "Understanding the impact of negative prompts".
        """

        def needed(scales: Scales) -> tuple[str, ...]:
            inside = scales["negative"] == 1
            others = (*(("null",) if not inside.all() else ()), *(("negative",) if inside.any() else ()))
            if bool((scales["scale"] == 1).all()):
                return ("conditional",)
            return others if bool((scales["scale"] == 0).all()) else ("conditional", *others)

        def rule(at: Evaluated) -> Tensor:
            others = [name for name in ("null", "negative") if name in at.x0]
            if not others:
                return at.x0["conditional"]
            base = at.x0[others[0]]
            if len(others) == 2:
                base = torch.where(at.scale("negative") == 1, at.x0["negative"], base)
            return torch.lerp(base, at.x0["conditional"], at.scale()) if "conditional" in at.x0 else base

        inside = in_window(sigmas, self.low, self.high)[None].double()
        return bind_rule(
            rule,
            needed,
            {"scale": scale_table(self.scale, sigmas), "negative": inside},
            branches,
            sigmas,
            method="WindowedNegative",
            trace=trace,
        )


def _plain(at: Evaluated) -> Tensor:
    if len(at.x0) == 1:
        return next(iter(at.x0.values()))
    return torch.lerp(at.x0["null"], at.x0["conditional"], at.scale())
