"""One cell of the laboratory: a way of guiding on a schedule at a scale, drawn and measured."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from melies.diffusion import NEEDS, SAMPLERS
from melies.diffusion.guidance.methods import guidance_of
from melies.diffusion.laboratory import error
from melies.diffusion.laboratory.mixture import Mixture, branches_of
from melies.diffusion.laboratory.tilted import GridDensity, tilted_density
from melies.diffusion.noise import karras
from melies.errors import UserError
from melies.interfaces import Guidance
from melies.optional import import_from
from melies.recipes.guidance.laboratory.settings import THIRDS, LaboratorySettings
from melies.rng import generator_for

SIGMA_MIN, SIGMA_MAX = 0.01, 20.0
"""Noise levels of every run, in units of x0, where the data spread over about 2."""

LABEL = 0
"""The class that is asked for."""

WEAKER_BY = 0.5
"""Deviation of the noise that the weaker model of autoguidance cannot see through."""

PARAMETERS = {"classifier": ":1", "classifier-mean-shift": ":1", "windowed": ":1"}
"""The classifiers guide a model that is told the class, as others do; the negative counts below σ = 1."""


class Cell(NamedTuple):
    """What is drawn."""

    method: str
    schedule: str
    """Of `melies.diffusion.SCHEDULES`, or one of `THIRDS`."""
    scale: float
    """The mean over the run; 1 is the condition alone."""


class Measures(NamedTuple):
    """What a cell shows, each (r + 1,): of all samples, then of every bootstrap weighting."""

    error: Float[Tensor, " r"]
    """Energy distance from the tilted density, in units of x."""
    variation: Float[Tensor, " r"]
    """Total variation from it over 64 cells."""
    divergence: Float[Tensor, " r"]
    """KL(samples ‖ tilted density) over these, in nats."""
    alignment: Float[Tensor, " r"]
    """Mean p(y|x)."""
    diversity: Float[Tensor, " r"]
    """Mean distance between samples, as a share of that under p(x|y)."""
    frechet: Float[Tensor, " r"]
    """Fréchet distance from p(x|y), which is what the papers' FD is of."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bench:
    """One mixture with its truth, and the noise and weightings that all of its cells share."""

    whole: Mixture
    target: GridDensity
    """p(x)·p(y|x)^tilt."""
    told_spread: float
    """Mean distance of two draws from p(x|y)."""
    sigmas: Float[Tensor, " levels"]
    start: Float[Tensor, "n d"]
    weights: Float[Tensor, "r n"]
    seed: int


def prepare(whole: Mixture, settings: LaboratorySettings) -> Bench:
    """A bench for one mixture."""
    shape = (settings.samples, whole.means.shape[1])
    start = torch.randn(shape, dtype=torch.float64, generator=generator_for(settings.seed, "laboratory"))
    return Bench(
        whole=whole,
        target=tilted_density(whole, LABEL, settings.tilt),
        told_spread=tilted_density(whole, LABEL, 1.0).spread,
        sigmas=karras(settings.steps, SIGMA_MIN, SIGMA_MAX),
        start=SIGMA_MAX * start,
        weights=error.weightings(settings.samples, settings.resamples, settings.seed),
        seed=settings.seed,
    )


def plan(settings: LaboratorySettings) -> Iterator[Cell]:
    """Every method on every schedule, and in each third of the run, at every scale."""
    every = (*settings.schedules, *THIRDS)
    for method in settings.methods:
        for schedule in ("static",) if settings.brief and method != "plain" else every:
            for scale in settings.scales:
                yield Cell(method, schedule, scale)


def guidance_for(cell: Cell, sigmas: Float[Tensor, " levels"]) -> Guidance:
    """The guidance of a cell, with the mean scale over the whole run that the cell says.

    In a third of the run the scale there is as much higher as the rest lacks. CFG++ is given the λ at which
    the plain guidance that it equals has this mean.

    Raises:
        UserError: If what is asked does not go together.
    """
    steps, (method, schedule, scale) = len(sigmas) - 1, cell
    interval = None
    if schedule in THIRDS:
        ends = [0, steps // 3, 2 * steps // 3, steps]
        third = THIRDS.index(schedule)
        high = float("inf") if third == 0 else float(sigmas[ends[third]])
        interval = (float(sigmas[ends[third + 1]]), high)
        scale = 1 + (scale - 1) * steps / (ends[third + 1] - ends[third])
        schedule = "static"
    if method.startswith("classifier"):
        scale -= 1
    elif method == "plus-plus":
        scale /= float((1 / (1 - sigmas[1:] / sigmas[:-1])).mean())
    return guidance_of(method + PARAMETERS.get(method, ""), scale, schedule=schedule, interval=interval)


@torch.no_grad()
def draw(bench: Bench, cell: Cell) -> Float[Tensor, "n d"]:
    """The samples of a cell.

    Raises:
        UserError: If its method and schedule do not go together.
    """
    guidance = guidance_for(cell, bench.sigmas)
    branches = branches_of(bench.whole, LABEL, len(bench.start), weaker_by=WEAKER_BY)
    wanted = ("conditional", "null", NEEDS.get(cell.method, "null"))
    bound = guidance.bind({name: branches[name] for name in wanted}, bench.sigmas)
    sampler = import_from(SAMPLERS["euler" if "euler" in guidance.samplers else "ddpm"])
    x = sampler(bound, bench.start, bench.sigmas, noise=functools.partial(_noise, bench.seed))
    if not bool(x.isfinite().all()):
        raise UserError(f"{cell.method} is not defined for samples of {x.shape[1]} numbers")
    return x


def measure(bench: Bench, x: Float[Tensor, "n d"]) -> Measures:
    """What samples show."""
    weights, told = bench.weights, bench.whole.of_class(LABEL)
    spread = error.spread_of(x, weights)
    shares = error.cell_shares(x, bench.target, weights)
    mean, covariance = told.moments()
    return Measures(
        error=error.energy_distance(x, bench.target, weights, spread),
        variation=error.total_variation(shares, bench.target),
        divergence=error.divergence(shares, bench.target, len(x)),
        alignment=weights @ bench.whole.log_joint(x).softmax(1)[:, LABEL],
        diversity=spread / bench.told_spread,
        frechet=error.frechet_distance(x, mean, covariance, weights),
    )


def measure_truth(bench: Bench) -> Measures:
    """What as many exact draws from the tilted density show: no guidance can be told to be nearer."""
    generator = generator_for(bench.seed, "laboratory truth")
    return measure(bench, bench.target.draw(len(bench.start), generator))


def measure_cells(bench: Bench, settings: LaboratorySettings) -> Iterator[tuple[Cell, Measures | UserError]]:
    """Every cell, measured; where its parts do not go together, the error that says so."""
    for cell in plan(settings):
        try:
            yield cell, measure(bench, draw(bench, cell))
        except UserError as refused:
            yield cell, refused


def _noise(seed: int, step: int, like: Tensor) -> Tensor:
    """Fresh noise of a step, the same in all cells."""
    drawn = torch.randn(like.shape, dtype=torch.float64, generator=generator_for(seed, "laboratory", step))
    return drawn.to(like)
