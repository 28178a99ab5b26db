"""Classifier-free guidance (Ho & Salimans 2022), negative prompts, and no guidance at all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from melies.config import check_range
from melies.diffusion.guidance.plan import Planner
from melies.diffusion.precondition import per_sample
from melies.interfaces import Branch, Denoise, Schedule

Trace = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unguided:
    """The "conditional" branch as it is: an explicit condition, or none."""

    @property
    def space(self) -> str:
        """Where it acts."""
        return "x0"

    def bind(
        self,
        branches: Mapping[str, Branch],
        sigmas: Tensor,
        *,
        valid: Tensor | None = None,
        trace: Trace | None = None,
    ) -> Denoise:
        """A bound denoiser of one network call per evaluation; see `ClassifierFreeGuidance.bind`."""
        return ClassifierFreeGuidance(scale=1.0).bind(branches, sigmas, valid=valid, trace=trace)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassifierFreeGuidance:
    """u + scale·(c − u), with c from "conditional" and u from "null".

    A "negative" branch takes the place of the null: the result is drawn away from it. The rule is
    linear, so acting on x0, ε or a velocity is the same. In the slides' formulas ω is this scale;
    in the first form of Ho & Salimans (eq. 6) w = scale − 1.
    """

    scale: float | Tensor | Schedule | Sequence[float]
    """1 is off, 0 is the null alone. One number; a tensor (b,), one per sample; a sequence of one
    per step; or a schedule, which gives one per step."""

    @property
    def space(self) -> str:
        """Where it acts; being linear it acts the same in every space."""
        return "x0"

    def __post_init__(self) -> None:
        """Check that the numbers are finite."""
        match self.scale:
            case Tensor():
                values = self.scale.flatten().tolist()
            case Schedule():
                return  # checked on the grid, when bound
            case Sequence():
                values = list(self.scale)
            case _:
                values = [self.scale]
        _check(values)

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
        table = self._table(sigmas)
        other = "negative" if "negative" in branches else "null"
        needed = {name for step in range(table.shape[1]) for name in _needed(table[:, step], other)}
        missing = sorted(needed - branches.keys())
        if missing:
            raise ValueError(f"guidance at scale {self.scale} lacks the branch {', '.join(missing)}")
        planner = Planner(branches)
        levels = sigmas[:-1].detach().cpu().double()
        constant = bool((table == table[:, :1]).all())
        always = _needed(table[:, 0], other)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            # A scale that never changes is not looked up, which spares a GPU the wait for σ.
            steps = None if constant and trace is None else _steps(sigma, levels)
            scale = table[:, 0] if constant else _scales(table, steps)
            names = always if constant else _needed(scale, other)
            x0 = planner.evaluate(names, x, sigma)
            guided = _combine(x0, other, scale)
            if trace is not None and steps is not None:
                trace(
                    {
                        "step": int(steps[0]),
                        "sigma": float(sigma[0]),
                        "scale": scale,
                        "x0": x0,
                        "guided": guided,
                        "network_calls": planner.network_calls,
                        "rows": planner.rows,
                    }
                )
            return guided

        return denoise

    def _table(self, sigmas: Tensor) -> Tensor:
        """Scales (b or 1, steps), float64 on the CPU."""
        steps = len(sigmas) - 1
        match self.scale:
            case Tensor():
                return self.scale.detach().cpu().double().reshape(-1, 1).expand(-1, steps)
            case Schedule():
                values = self.scale.on(sigmas).tolist()
            case Sequence():
                values = list(self.scale)
            case _:
                values = [self.scale] * steps
        if len(values) != steps:
            raise ValueError(f"{len(values)} scales for {steps} steps")
        _check(values)
        return torch.tensor([values], dtype=torch.float64)


def _needed(scale: Tensor, other: str) -> tuple[str, ...]:
    if bool((scale == 1).all()):
        return ("conditional",)
    if bool((scale == 0).all()):
        return (other,)
    return ("conditional", other)


def _combine(x0: Mapping[str, Tensor], other: str, scale: Tensor) -> Tensor:
    if len(x0) == 1:
        return next(iter(x0.values()))
    conditional, base = x0["conditional"], x0[other]
    if len(scale) == 1:
        return torch.lerp(base, conditional, float(scale))
    if len(scale) != len(base):
        raise ValueError(f"{len(scale)} scales for a batch of {len(base)}")
    return torch.lerp(base, conditional, per_sample(scale, base))


def _steps(sigma: Tensor, levels: Tensor) -> Tensor:
    """The step that each σ belongs to: the last whose level is not below it, within rounding."""
    wanted = sigma.detach().cpu().double() * (1 - 1e-5)  # a float32 σ may lie a little above its level
    return (levels[None] >= wanted[:, None]).sum(1).clamp(min=1) - 1


def _scales(table: Tensor, steps: Tensor | None) -> Tensor:
    assert steps is not None
    if len(table) == 1:
        found = table[0, steps]
        return found[:1] if bool((found == found[0]).all()) else found
    return table.gather(1, steps[:, None]).squeeze(1)


def _check(values: Sequence[float]) -> None:
    for value in values:
        check_range("scale", value)
