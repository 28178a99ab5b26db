"""Draw one cell: the same pictures as every other, with its cost counted."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jaxtyping import UInt8
from torch import Tensor, nn

from melies.images.counting import counting
from melies.images.generate import draw
from melies.images.model import ImageDiffusion
from melies.images.reference import Asked
from melies.interfaces import Guidance
from melies.progress import Progress, Track, silent


class CellPictures(NamedTuple):
    """What a cell drew, and what it cost."""

    pixels: UInt8[Tensor, "n c h w"]
    evaluations: int
    """Rows through the networks."""
    calls: int
    """Calls of the networks."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawing:
    """What all cells have in common."""

    model: ImageDiffusion
    asked: Asked
    """One picture for each row."""
    seed: int
    """Of the first picture."""
    grid: str = "karras"
    others: Mapping[str, Any] = field(default_factory=dict)
    """What some guidance needs beside the model, by its name in `melies.diffusion.NEEDS`."""
    batch: int = 50

    def draw(
        self,
        guidance: Guidance,
        *,
        steps: int,
        sampler: str,
        needs: str = "",
        rows: slice = slice(None),
        progress: Progress = silent,
    ) -> CellPictures:
        """Draw the pictures of `rows`.

        Args:
            guidance: How.
            steps: Steps of the sampler.
            sampler: Its name.
            needs: What the guidance needs beside the model, as `melies.diffusion.NEEDS` says.
            rows: Which of the pictures.
            progress: Shows the drawing.
        """
        asked, seeds = self.asked, range(self.seed, self.seed + len(self.asked.rows))
        extra = {needs: self.others[needs]} if needs else {}
        networks = [entry for entry in extra.values() if isinstance(entry, nn.Module)]
        with counting(self.model, *networks) as counts:
            begun = time.perf_counter()
            pixels = draw(
                self.model,
                asked.prompts[rows],
                classes=asked.classes[rows],
                guidance=guidance,
                num_steps=steps,
                sampler=sampler,
                grid=self.grid,
                seeds=seeds[rows],
                batch_size=self.batch,
                progress=progress,
                **extra,
            )
            seconds = time.perf_counter() - begun
        return CellPictures(pixels, counts.rows, counts.calls, seconds)


def part_of(track: Track, share: float) -> Progress:
    """Progress that moves another bar on, by `share` of its units for each unit of its own."""

    @contextmanager
    def within(title: str, *, total: float, unit: str = "step", done: float = 0.0) -> Iterator[Track]:
        class _Within:
            def advance(self, amount: float = 1.0, **fields: object) -> None:
                track.advance(amount * share, **fields)

        yield _Within()

    return within
