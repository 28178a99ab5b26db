"""One model at one number of steps: where schedules are tuned, and where the tuned ones are tested."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from melies.diffusion.guidance.methods import guidance_of
from melies.errors import UserError
from melies.images.instruments import Instruments
from melies.images.model import ImageDiffusion
from melies.images.reference import Asked
from melies.interfaces import Guidance
from melies.metrics.frechet import frechet_distance_of_features
from melies.metrics.kernel import kernel_distance
from melies.progress import Track
from melies.recipes.guidance.families import Family, Values, family_of
from melies.recipes.guidance.tune_settings import LEAST, SearchSettings
from melies.recipes.sweep.cost import count_evaluations
from melies.recipes.sweep.draw import CellPictures, Drawing, part_of
from melies.recipes.sweep.measure import Meter
from melies.rng import generator_for

DISTANCES = {"fd": frechet_distance_of_features, "kd": kernel_distance}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Place:
    """A model with its steps, its tuning pictures and its test pictures."""

    name: str
    """What tables call it."""
    steps: int
    settings: SearchSettings
    digest: str
    """Of all that decides a number here beside values and settings."""
    tools: Instruments
    tuning: Drawing
    testing: Drawing
    meter: Meter
    """Measures test pictures."""
    family: Family

    @property
    def model(self) -> ImageDiffusion:
        """What draws."""
        return self.tuning.model

    def guidance(self, values: Values) -> Guidance | None:
        """Guidance of some values, which may have been tuned elsewhere; None where they cannot be here."""
        try:
            guidance = self.family.build(values)
            self.cost(guidance)
        except UserError:
            return None
        return guidance

    @property
    def static(self) -> Guidance:
        """What is compared with: the same way of guiding at the same scale, always on."""
        return guidance_of(self.settings.method, self.settings.scale)

    def cost(self, guidance: Guidance | None) -> int:
        """Network evaluations of one picture; none of what cannot be.

        Raises:
            UserError: If the guidance cannot be on the noise levels of this place.
        """
        if guidance is None:
            return 0
        settings = self.settings
        return count_evaluations(
            guidance, self.model, steps=self.steps, sampler=settings.sampler, grid=settings.grid
        )

    def loss(self, guidance: Guidance | None, pictures: int, track: Track) -> float:
        """The distance of the first so many tuning pictures to real ones; infinite of what cannot be."""
        if guidance is None:
            return math.inf
        drawn = self.draw(self.tuning, guidance, track, rows=slice(pictures))
        features = self.tools.space(drawn.pixels)
        return float(DISTANCES[self.settings.objective](features, self.tools.real.features))

    def draw(
        self,
        drawing: Drawing,
        guidance: Guidance,
        track: Track,
        rows: slice = slice(None),
    ) -> CellPictures:
        """Pictures of some guidance, `track` moved on by network evaluations."""
        return drawing.draw(
            guidance,
            steps=self.steps,
            sampler=self.settings.sampler,
            rows=rows,
            progress=part_of(track, self.cost(guidance) / self.steps),
        )

    def key(self, *words: object) -> str:
        """What is kept under these words, here and with these settings."""
        text = json.dumps([self.digest, self.steps, *words])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_place(name: str, steps: int, settings: SearchSettings, tools: Instruments, *, digest: str) -> Place:
    """Part the prompts of a model into those for tuning and those for testing, with seeds of their own.

    Raises:
        UserError: If it cannot be guided, or there are too few pictures.
    """
    model = tools.loaded.model
    if not tools.guided or not isinstance(model, ImageDiffusion):
        raise UserError(
            "it cannot be guided", where=name, remedy="give a diffusion model of words or classes"
        )
    asked = tools.groups[tools.first]
    order = torch.randperm(len(asked.rows), generator=generator_for(settings.seed, "search")).tolist()
    tuning = round(len(order) * settings.tuning / (settings.tuning + settings.test))
    if min(tuning, len(order) - tuning) < LEAST:
        raise UserError(
            f"{len(order)} real pictures are too few to tune and to test with",
            where=name,
            remedy=f"bring at least {2 * LEAST}",
        )
    parts = [some_of(asked, order[:tuning]), some_of(asked, order[tuning:])]
    drawings = [
        Drawing(model=model, asked=part, seed=seed, grid=settings.grid, batch=settings.batch)
        for part, seed in zip(parts, (settings.seed, settings.seed + tuning), strict=True)
    ]
    tested = replace(tools, groups={tools.first: parts[1]})
    return Place(
        name=name,
        steps=steps,
        settings=settings,
        digest=digest,
        tools=tools,
        tuning=drawings[0],
        testing=drawings[1],
        meter=Meter(tested, clip=None, seed=settings.seed),
        family=family_of(
            settings.family, model, method=settings.method, scale=settings.scale, knots=settings.knots
        ),
    )


def some_of(asked: Asked, rows: Sequence[int]) -> Asked:
    """Those rows of what is asked for, in that order."""
    return Asked(
        asked.rows.subset(torch.tensor(rows)),
        [asked.prompts[row] for row in rows] if asked.prompts else [],
        [asked.classes[row] for row in rows] if asked.classes else [],
    )
