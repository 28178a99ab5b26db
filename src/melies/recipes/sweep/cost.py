"""What a cell costs, found without drawing: its guidance is run on a network that only counts."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from melies.diffusion import NEEDS
from melies.diffusion.guidance.methods import guidance_of
from melies.errors import UserError
from melies.images.generate import choose_sampler, draw, sigma_grid
from melies.images.model import ImageDiffusion
from melies.interfaces import AttentionEdit, Branch, Condition, Guidance
from melies.recipes.sweep.cells import Cell
from melies.rng import generator_for, noise_for

PROBED = {"plus-plus": 0.5}
"""Scale at which a method is tried out, where it is not 2."""


class Counting:
    """A denoiser that says the same whatever it is asked, and counts the rows it was asked for."""

    def __init__(self, answer: Tensor) -> None:
        """Say `answer`, one sample."""
        self.answer, self.rows = answer, 0

    def __call__(
        self, x: Tensor, sigma: Tensor, condition: Condition, *, attention: AttentionEdit | None = None
    ) -> Tensor:
        """The answer for every row."""
        self.rows += len(x)
        if attention is not None:  # as a network with attention: whether the true one has some is probed
            tokens = torch.zeros(1, 1, 1, 1)
            attention(tokens, tokens, tokens, "any.self")
        return self.answer.expand(len(x), *self.answer.shape[1:])


def evaluations_of(cell: Cell, model: ImageDiffusion, grid: str = "karras") -> int:
    """`count_evaluations` of a cell."""
    method = cell.method.partition(":")[0]
    return count_evaluations(
        cell.guidance(),
        model,
        steps=cell.steps,
        sampler=cell.sampler,
        grid=grid,
        needs=NEEDS.get(method, ""),
    )


def count_evaluations(
    guidance: Guidance,
    model: ImageDiffusion,
    *,
    steps: int,
    sampler: str,
    grid: str = "karras",
    needs: str = "",
) -> int:
    """Network evaluations that one picture takes: rows through the network, however they are grouped.

    Raises:
        UserError: If the schedule or the scale cannot be on this grid.
    """
    sigmas = sigma_grid(model, steps, grid)
    generator = generator_for(0, "cost")
    denoisers = {
        name: Counting(torch.randn(1, *model.shape, generator=generator))
        for name in ("conditional", "null", *([needs] if needs else []))
    }
    condition = {"class": torch.zeros(1, dtype=torch.int64)}
    branches = {name: Branch(denoiser, condition) for name, denoiser in denoisers.items()}
    x = float(sigmas[0]) * torch.randn(1, *model.shape, generator=generator)
    choose_sampler(sampler)(guidance.bind(branches, sigmas), x, sigmas, noise=noise_for([0]))
    return sum(denoiser.rows for denoiser in denoisers.values())


def cost_on(
    model: ImageDiffusion,
    *,
    prompt: str = "",
    label: str = "",
    others: Mapping[str, Any] | None = None,
    grid: str = "karras",
) -> Callable[[Cell], int]:
    """`evaluations_of` on one model, on which every method is tried out once: two steps of one picture.

    Args:
        model: What draws.
        prompt: Any text that it can be asked for, where it reads texts.
        label: Any of its classes, where it has some.
        others: What some methods need beside the model.
        grid: How the noise levels are spaced.
    """

    @functools.cache
    def problem(method: str) -> UserError | None:
        name = method.partition(":")[0]
        needed = NEEDS.get(name, "")
        try:
            draw(
                model,
                [prompt] if prompt else [],
                classes=[label] if label else [],
                guidance=guidance_of(method, PROBED.get(name, 2.0)),
                num_steps=2,
                sampler="ddpm" if name == "classifier-mean-shift" else "euler",
                **({needed: (others or {})[needed]} if needed else {}),
            )
        except UserError as error:
            return error
        return None

    def cost(cell: Cell) -> int:
        if (found := problem(cell.method)) is not None:
            raise found
        return evaluations_of(cell, model, grid)

    return cost
