"""What guidance did in one run: its scale, what it was made of, and the picture it aimed at, step by step.

Norms and cosines are of ε = (x − x0)/σ, the space of the papers, as root mean squares over the elements of
a picture, so that pure noise has the norm 1.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from melies.diffusion.guidance.bind import check_fits
from melies.diffusion.guidance.classifier_free import Unguided
from melies.diffusion.guidance.measure import dot, norm
from melies.diffusion.precondition import per_sample
from melies.errors import UserError
from melies.images.generate import draw
from melies.images.model import ImageDiffusion
from melies.interfaces import Branch, Denoise, Guidance
from melies.progress import Progress, silent
from melies.transform import PixelRange

MOST = 16
"""Pictures of a trace: what it keeps of each step is held in memory."""

NEGLIGIBLE = 1e-3
"""Share of the prediction under which what guidance adds changes nothing that is seen."""

SAME_LEVELS = 0.5
"""Mean difference of two pictures, in levels of 0 … 255, under which rounding makes them the same."""


class TracedStep(NamedTuple):
    """One step, each number a mean over the pictures; None where the step did not evaluate it."""

    step: int
    sigma: float
    scale: float
    """1 is off; for a classifier 0 is."""
    conditional: float
    """Norm of ε that the condition predicts, or for a classifier the guidance beside it."""
    other: float | None
    """Norm of what is extrapolated from: the null, a negative, a weaker model."""
    difference: float | None
    """Norm of conditional − other."""
    cosine: float | None
    """Of conditional and other."""
    added: float
    """Norm of the guidance term: what guidance adds to the conditional prediction."""
    conflict: float
    """Φ = −2·|ε₁||ε₂|/(|ε₁|² + |ε₂|²) of the conditional prediction and the guidance term, −1 … 0. It sees
    norms only: −1 where both are as long, whatever their directions."""
    direction: float | None
    """Cosine of these two, which does see directions; None where nothing is added."""
    saturated: float
    """Share of the values of x̂₀ at or beyond the ends of the range of pictures."""
    evaluations: int
    """Rows through the networks until here, for one picture."""


class GuidanceTrace(NamedTuple):
    """A run, looked at."""

    steps: tuple[TracedStep, ...]
    aims: UInt8[Tensor, "steps b c h w"]
    """The guided x̂₀ of each step, decoded."""
    pictures: UInt8[Tensor, "b c h w"]
    unguided: UInt8[Tensor, "b c h w"]
    """Of the same seeds, by the condition alone."""
    warnings: tuple[str, ...]
    """Why guidance had no effect, in words; empty where it had one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Traced:
    """Guidance that keeps what its bound denoiser was given and said, the last evaluation of every step."""

    guidance: Guidance
    told: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    """By step; a corrector's evaluation gives way to that of the step itself."""

    @property
    def space(self) -> str:
        """That of the guidance."""
        return self.guidance.space

    @property
    def samplers(self) -> tuple[str, ...]:
        """Those of the guidance."""
        return self.guidance.samplers

    def bind(
        self,
        branches: Mapping[str, Branch],
        sigmas: Tensor,
        *,
        valid: Tensor | None = None,
        trace: Any = None,
    ) -> Denoise:
        """As the guidance binds."""
        records: list[Mapping[str, Any]] = []
        bound = self.guidance.bind(branches, sigmas, valid=valid, trace=records.append)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            guided = bound(x, sigma)
            record = records.pop()
            self.told[record["step"]] = {**record, "x": x}
            if trace is not None:
                trace(record)
            return guided

        return denoise


def trace_guidance(
    model: ImageDiffusion,
    prompts: Sequence[str] = (),
    *,
    classes: Sequence[str] = (),
    guidance: Guidance,
    sampler: str = "dpmpp",
    eta: float = 0.0,
    seeds: Sequence[int] | None = None,
    progress: Progress = silent,
    **asked: Any,
) -> GuidanceTrace:
    """Draw pictures in one batch, and once more without guidance, and say what guidance did.

    Args:
        model: What draws.
        prompts: As of `melies.images.generate.draw`, and so are classes, sampler, eta and seeds.
        classes: One per picture.
        guidance: The way of guiding.
        sampler: A name.
        eta: Fresh noise.
        seeds: One per picture.
        progress: Shows the drawing.
        asked: What else `draw` takes: negative, weak, classifier, num_steps, grid.

    Raises:
        UserError: If there are more than `MOST` pictures, or `draw` refuses what is asked.
    """
    total = max(len(prompts), len(classes))
    if total > MOST:
        raise UserError(f"a trace is of at most {MOST} pictures, not {total}", remedy="give a lower count")
    check_fits(guidance, sampler, eta)
    traced = Traced(guidance=guidance)
    drawing = functools.partial(
        draw,
        model,
        prompts,
        classes=classes,
        sampler=sampler,
        eta=eta,
        seeds=seeds,
        batch_size=MOST,
        progress=progress,
    )
    pictures = drawing(guidance=traced, **asked)
    alone = {name: what for name, what in asked.items() if name in ("num_steps", "grid")}
    told = classes if model.config.classes else ()  # a classifier may guide a model that knows no class
    if told or prompts:
        unguided = drawing(guidance=Unguided(), **alone)
    else:
        unguided = drawing(guidance=Unguided(branch="null"), classifier=asked.get("classifier"), **alone)
    records = [record for _, record in sorted(traced.told.items())]
    with torch.no_grad():
        aims = [model.decode(record["guided"]) for record in records]
    steps = tuple(look(record, aim) for record, aim in zip(records, aims, strict=True))
    return GuidanceTrace(
        steps=steps,
        aims=torch.stack([PixelRange().inverse(aim).cpu() for aim in aims]),
        pictures=pictures,
        unguided=unguided,
        warnings=tuple(no_effect(steps, pictures, unguided)),
    )


def look(record: Mapping[str, Any], aim: Float[Tensor, "b c h w"]) -> TracedStep:
    """One step in numbers, from what guidance told of it and the x̂₀ that it aimed at, decoded."""
    x, x0, guided = record["x"], record["x0"], record["guided"]
    sigma = per_sample(torch.full((len(x),), record["sigma"]), x)
    first = next((name for name in ("base", "conditional", *x0) if name in x0), None)
    told = guided if first is None else x0[first]  # a step that stands still asks nothing
    others = [] if first == "base" else [name for name in x0 if name != first]
    shift = (guided - told) / sigma
    epsilon = (x - told) / sigma
    size, added = norm(epsilon), norm(shift)
    other = difference = cosine = None
    if others and first is not None:
        base = (x - x0[others[0]]) / sigma
        other, difference = _rms(base), _rms(epsilon - base)
        cosine = _mean(dot(epsilon, base) / (size * norm(base)).clamp(min=1e-12))
    scales = record.get("classifier_scale", record.get("scale", record.get("scale_0")))
    moved = bool((added > 0).all())
    return TracedStep(
        step=record["step"],
        sigma=record["sigma"],
        scale=float(scales.double().mean()),
        conditional=_rms(epsilon),
        other=other,
        difference=difference,
        cosine=cosine,
        added=_rms(shift),
        conflict=_mean(-2 * size * added / (size.square() + added.square()).clamp(min=1e-12)),
        direction=_mean(-dot(epsilon, shift) / (size * added)) if moved else None,
        saturated=float((aim.abs() >= 1).double().mean()),
        evaluations=record["rows"] // len(x),
    )


def no_effect(
    steps: Sequence[TracedStep], pictures: UInt8[Tensor, "b c h w"], unguided: UInt8[Tensor, "b c h w"]
) -> list[str]:
    """The reasons to think that guidance did nothing, in words."""
    found = []
    share = max(step.added / max(step.conditional, 1e-12) for step in steps)
    if share == 0:
        found.append(
            "guidance adds nothing at any step: its scale is off all along, or all that it is made of agrees"
        )
    elif share < NEGLIGIBLE:
        found.append(f"guidance adds at most {100 * share:.2g} % of the conditional prediction at any step")
    apart = float((pictures.double() - unguided.double()).abs().mean())
    if apart == 0:
        found.append("the pictures are those that the condition alone draws, to the last bit")
    elif apart < SAME_LEVELS:
        found.append(f"the pictures differ from unguided ones by {apart:.2g} levels of 255 in the mean")
    return found


def _rms(x: Tensor) -> float:
    return float(x.double().square().flatten(1).mean(1).sqrt().mean())


def _mean(column: Tensor) -> float:
    return float(column.double().mean())
