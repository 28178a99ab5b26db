"""CFG++: guidance that renews the noise without the condition (Chung et al. 2024)."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

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
class PlusPlus:
    """x0 = u + λ·(c − u), and the noise of the next level from u alone.

    In a first-order step from σ to σ_next this is classifier-free guidance at the scale
    λ/(1 − σ_next/σ), which is how it is done here, and why it fits such samplers only.
    """

    scale: Scale
    """λ in [0, 1]: 0 is the null alone; 1 takes x0 of the condition, yet the noise of the null."""

    @property
    def space(self) -> str:
        """Where it acts; being linear in x0 and ε it acts the same in every space."""
        return "x0"

    @property
    def samplers(self) -> tuple[str, ...]:
        """Steps of first order without fresh noise."""
        return ("euler", "ddim")

    def __post_init__(self) -> None:
        """Check that the numbers are finite."""
        check_scale(self.scale, low=0.0)

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
            sigmas: The grid of the run, which the scales depend on.
            valid: Not needed: each element is combined by itself.
            trace: As of `ClassifierFreeGuidance.bind`, told the scale of the equal plain guidance.

        Raises:
            ValueError: If a branch is missing, or the number of scales is not that of the steps.
            UserError: If a scale is outside [0, 1].

        Source: Chung et al. (2024), "CFG++: Manifold-constrained classifier free guidance".
        """
        table = scale_table(self.scale, sigmas)
        if not bool(((table >= 0) & (table <= 1)).all()):
            worst = float(table.min() if table.min() < 0 else table.max())
            raise UserError(
                f"CFG++ interpolates: its scale lies between 0 and 1, and {worst:g} does not",
                remedy="give a number between 0 and 1",
            )
        levels = sigmas.detach().cpu().double()
        table = table / (1 - levels[1:] / levels[:-1])
        other = "negative" if "negative" in branches else "null"
        return bind_rule(
            lambda at: extrapolate(at, other),
            only_what_counts(other),
            {"scale": table},
            branches,
            sigmas,
            method="CFG++",
            trace=trace,
        )
