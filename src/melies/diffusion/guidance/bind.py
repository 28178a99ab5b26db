"""What every way of guiding shares: scales looked up by σ, branches evaluated as needed, and the trace."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from melies.config import check_range
from melies.diffusion.guidance.plan import Planner
from melies.errors import UserError
from melies.interfaces import Branch, Denoise, Guidance, Schedule

Trace: TypeAlias = Callable[[Mapping[str, Any]], None]

Scale: TypeAlias = float | Tensor | Schedule | Sequence[float]
"""One number; a tensor (b,), one per sample; a sequence of one per step; or a schedule, which gives
one per step."""

Scales: TypeAlias = Mapping[str, Tensor]
"""By name, each (b,) or (1,): what holds for a batch at one evaluation."""


class Evaluated(NamedTuple):
    """What a rule combines: the predictions of x0 at one evaluation, and where they were made."""

    x: Tensor
    """(b, …)."""
    sigma: Tensor
    """(b,)."""
    scales: Scales
    x0: Mapping[str, Tensor]
    """By branch, each (b, …)."""

    def scale(self, name: str = "scale") -> Tensor:
        """A scale in the shape in which it multiplies x0."""
        scale = self.scales[name]
        if len(scale) not in (1, len(self.x)):
            raise ValueError(f"{len(scale)} scales for a batch of {len(self.x)}")
        like = next(iter(self.x0.values()))
        return scale.to(like).view(-1, *[1] * (like.ndim - 1))


Rule: TypeAlias = Callable[[Evaluated], Tensor]
Needed: TypeAlias = Callable[[Scales], tuple[str, ...]]


def bind_rule(
    rule: Rule,
    needed: Needed,
    tables: Mapping[str, Tensor],
    branches: Mapping[str, Branch],
    sigmas: Tensor,
    *,
    method: str,
    trace: Trace | None = None,
) -> Denoise:
    """A bound denoiser for one run.

    Args:
        rule: Combines the predictions of the branches that were needed.
        needed: `scales → branches` that they need.
        tables: Scales of the run by name, from `scale_table`; each is looked up by σ, not by counting
            calls: the first step covers σ from sigmas[0] down to, and without, sigmas[1].
        branches: What may be evaluated.
        sigmas: The grid of the run.
        method: What the method is called, for the error.
        trace: Called after every evaluation with `step`, `sigma`, the scales by name, `x0`
            (prediction by branch), `guided`, and the `network_calls` and `rows` so far.

    Raises:
        ValueError: If a branch is missing.
    """
    steps = len(sigmas) - 1
    columns = [{name: table[:, step] for name, table in tables.items()} for step in range(steps)]
    missing = sorted({name for column in columns for name in needed(column)} - branches.keys())
    if missing:
        raise ValueError(f"{method} lacks the branch {', '.join(missing)}")
    planner = Planner(branches)
    levels = sigmas[:-1].detach().cpu().double()
    constant = all(bool((table == table[:, :1]).all()) for table in tables.values())
    always = needed(columns[0])

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        # Scales that never change are not looked up, which spares a GPU the wait for σ.
        step = None if constant and trace is None else steps_of(sigma, levels)
        scales = columns[0] if constant else {name: _at(table, step) for name, table in tables.items()}
        x0 = planner.evaluate(always if constant else needed(scales), x, sigma)
        guided = rule(Evaluated(x, sigma, scales, x0))
        if trace is not None and step is not None:
            trace(
                {
                    "step": int(step[0]),
                    "sigma": float(sigma[0]),
                    **scales,
                    "x0": x0,
                    "guided": guided,
                    "network_calls": planner.network_calls,
                    "rows": planner.rows,
                }
            )
        return guided

    return denoise


def scale_table(scale: Scale, sigmas: Tensor, name: str = "scale") -> Tensor:
    """Scales (b or 1, steps), float64 on the CPU.

    Raises:
        ValueError: If the number of scales is not that of the steps.
        UserError: If a number is not finite.
    """
    steps = len(sigmas) - 1
    match scale:
        case Tensor():
            return scale.detach().cpu().double().reshape(-1, 1).expand(-1, steps)
        case Schedule():
            values = scale.on(sigmas).tolist()
        case Sequence():
            values = list(scale)
        case _:
            values = [scale] * steps
    if len(values) != steps:
        raise ValueError(f"{len(values)} scales for {steps} steps")
    for value in values:
        check_range(name, value)
    return torch.tensor([values], dtype=torch.float64)


def check_scale(scale: Scale, name: str = "scale", *, low: float = float("-inf")) -> None:
    """Refuse numbers that are not finite or below `low`; a schedule is checked on the grid, when bound."""
    match scale:
        case Tensor():
            values = scale.flatten().tolist()
        case Schedule():
            return
        case Sequence():
            values = list(scale)
        case _:
            values = [scale]
    for value in values:
        check_range(name, value, low=low)


def check_fits(guidance: Guidance, sampler: str, eta: float = 0.0) -> None:
    """Refuse a sampler that a way of guiding is not made for; with fresh noise, `ddim` counts as `ddpm`.

    Raises:
        UserError: Naming the samplers that it fits.
    """
    name = "ddpm" if eta else sampler
    if name not in guidance.samplers:
        noisy = f" with {eta = :g}" if eta else ""
        raise UserError(
            f"{type(guidance).__name__} does not fit the sampler {sampler!r}{noisy}",
            remedy=f"it fits {', '.join(guidance.samplers)}",
        )


def in_window(sigmas: Tensor, low: float, high: float) -> Tensor:
    """Which steps of a run lie in (low, high] of σ: (steps,) bool on the CPU.

    Raises:
        UserError: If that is no interval.
    """
    if not 0 <= low < high:
        raise UserError(
            f"({low:g}, {high:g}] is no interval of noise levels",
            remedy="give the lower σ first, at least 0, then the higher",
        )
    levels = sigmas[:-1].detach().cpu().double()
    return (levels > low) & (levels <= high)


def steps_of(sigma: Tensor, levels: Tensor) -> Tensor:
    """The step that each σ belongs to: the last whose level is not below it, within rounding."""
    wanted = sigma.detach().cpu().double() * (1 - 1e-5)  # a float32 σ may lie a little above its level
    return (levels[None] >= wanted[:, None]).sum(1).clamp(min=1) - 1


def conditional_or_both(other: str) -> Needed:
    """The conditional branch alone where the scale is 1 for the whole batch, else both."""
    return lambda scales: ("conditional",) if _all(scales, 1) else ("conditional", other)


def only_what_counts(other: str) -> Needed:
    """As `conditional_or_both`, and the other one alone where the scale is 0: for linear rules."""
    return lambda scales: (other,) if _all(scales, 0) else conditional_or_both(other)(scales)


def _all(scales: Scales, value: float) -> bool:
    return all(bool((scale == value).all()) for scale in scales.values())


def _at(table: Tensor, step: Tensor | None) -> Tensor:
    assert step is not None
    if len(table) == 1:
        found = table[0, step]
        return found[:1] if bool((found == found[0]).all()) else found
    if len(table) != len(step):
        raise ValueError(f"{len(table)} scales for a batch of {len(step)}")
    return table.gather(1, step[:, None]).squeeze(1)
