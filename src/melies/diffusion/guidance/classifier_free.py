"""Classifier-free guidance (Ho & Salimans 2022), negative prompts, and no guidance at all."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
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
from melies.errors import choose
from melies.interfaces import Branch, Denoise


@dataclass(frozen=True, slots=True, kw_only=True)
class Unguided:
    """One branch as it is: an explicit condition, or none."""

    branch: str = "conditional"
    """"conditional", or "null" for what the model draws when it is asked for nothing."""

    @property
    def space(self) -> str:
        """Where it acts."""
        return "x0"

    @property
    def samplers(self) -> tuple[str, ...]:
        """It fits every sampler."""
        return tuple(SAMPLERS)

    def __post_init__(self) -> None:
        """Check the name."""
        choose(self.branch, ("conditional", "null"), "branch")

    def bind(
        self,
        branches: Mapping[str, Branch],
        sigmas: Tensor,
        *,
        valid: Tensor | None = None,
        trace: Trace | None = None,
    ) -> Denoise:
        """A bound denoiser of one network call per evaluation; see `ClassifierFreeGuidance.bind`."""
        only = {name: branch for name, branch in branches.items() if name == self.branch}
        scale = 1.0 if self.branch == "conditional" else 0.0
        return ClassifierFreeGuidance(scale=scale).bind(only, sigmas, valid=valid, trace=trace)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassifierFreeGuidance:
    """u + scale·(c − u), with c from "conditional" and u from "null".

    A "negative" branch takes the place of the null: the result is drawn away from it. The rule is
    linear, so acting on x0, ε or a velocity is the same. In the slides' formulas ω is this scale;
    in the first form of Ho & Salimans (eq. 6) w = scale − 1.
    """

    scale: Scale
    """1 is off, 0 is the null alone."""

    @property
    def space(self) -> str:
        """Where it acts; being linear it acts the same in every space."""
        return "x0"

    @property
    def samplers(self) -> tuple[str, ...]:
        """It fits every sampler."""
        return tuple(SAMPLERS)

    def __post_init__(self) -> None:
        """Check that the numbers are finite."""
        check_scale(self.scale)

    def bind(
        self,
        branches: Mapping[str, Branch],
        sigmas: Tensor,
        *,
        valid: Tensor | None = None,
        trace: Trace | None = None,
    ) -> Denoise:
        """A bound denoiser for one run.

        Where the scale is 1 for the whole batch only the conditional branch is evaluated, and
        where it is 0 only the other one.

        Args:
            branches: "conditional", and "null" or "negative" where a scale is not 1.
            sigmas: The grid of the run. A scale per step is looked up by σ, not by counting calls:
                the first step covers σ from sigmas[0] down to, and without, sigmas[1].
            valid: Not needed: each element is combined by itself.
            trace: Called after every evaluation with `step`, `sigma`, `scale` (b,) or (1,), `x0`
                (prediction by branch), `guided`, and the `network_calls` and `rows` so far.

        Raises:
            ValueError: If a branch is missing, or the number of scales is not that of the steps.
            UserError: If a schedule gives a number that is not finite.
        """
        other = "negative" if "negative" in branches else "null"
        return bind_rule(
            lambda at: extrapolate(at, other),
            only_what_counts(other),
            {"scale": scale_table(self.scale, sigmas)},
            branches,
            sigmas,
            method=f"guidance at scale {self.scale}",
            trace=trace,
        )


def extrapolate(at: Evaluated, other: str) -> Tensor:
    """The rule u + scale·(c − u), u from the branch `other`; a branch that stands alone as it is."""
    if len(at.x0) == 1:
        return next(iter(at.x0.values()))
    conditional, base = at.x0["conditional"], at.x0[other]
    scale = at.scales["scale"]
    return torch.lerp(base, conditional, float(scale) if len(scale) == 1 else at.scale())
