"""Autoguidance: away from a weaker version of the model itself (Karras et al. 2024)."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from melies.diffusion import SAMPLERS
from melies.diffusion.guidance.bind import (
    Scale,
    Trace,
    bind_rule,
    check_scale,
    only_what_counts,
    scale_table,
)
from melies.diffusion.guidance.classifier_free import extrapolate
from melies.errors import UserError
from melies.interfaces import Branch, Denoise


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Autoguidance:
    """w + scale·(c − w), with w from "weak": a smaller or less trained network with the same condition."""

    scale: Scale
    """1 is off, 0 is the weak network alone."""

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

        Args:
            branches: "conditional", and "weak" where a scale is not 1.
            sigmas: The grid of the run.
            valid: Not needed: each element is combined by itself.
            trace: As of `ClassifierFreeGuidance.bind`.

        Raises:
            ValueError: If a branch is missing, or the number of scales is not that of the steps.
            UserError: If the weak branch is the network that it is to be weaker than, or there is a
                negative.

        Source: Karras et al. (2024), "Guiding a diffusion model with a bad version of itself".
        """
        if "negative" in branches:
            raise UserError(
                "autoguidance has no null that a negative could replace", remedy="leave the negative out"
            )
        weak, strong = branches.get("weak"), branches.get("conditional")
        if weak is not None and strong is not None and weak.denoiser is strong.denoiser:
            raise UserError(
                "autoguidance by the same network has no effect", remedy="give a weaker checkpoint of it"
            )
        return bind_rule(
            lambda at: extrapolate(at, "weak"),
            only_what_counts("weak"),
            {"scale": scale_table(self.scale, sigmas)},
            branches,
            sigmas,
            method="autoguidance",
            trace=trace,
        )
