"""The numbers of a rung that not all have: what its latents, its codes, its game or its steps tell."""

from pathlib import Path

import torch

from melies.images.families import Family, open_family
from melies.images.inside import REBUILT, labels_of, measure_inside, measure_reconstruction, some
from melies.images.mix import mixed
from melies.images.model import ImageDiffusion
from melies.interfaces import Metric
from melies.metrics.measure import measure
from melies.recipes.ladder import STEPS
from melies.recipes.ladder.drawn import draw_many
from melies.recipes.ladder.settings import LadderSettings
from melies.recipes.ladder.train import lead
from melies.recipes.ladder.yardstick import Yardstick

MOST_PER_STEPS = 500
"""Pictures drawn for each number of steps."""


def measure_own(family: Family, yard: Yardstick, log: Path, settings: LadderSettings) -> list[Metric]:
    """Reconstructions of every family, and what its kind alone has."""
    seed = settings.seed

    def distance(pixels):
        return yard.frechet(pixels, seed=seed)

    metrics = measure_reconstruction(family, yard.train, yard.test, distance=distance, seed=seed)
    if family.loaded.kind in REBUILT:
        metrics += [_between(family, yard, seed=seed)]
    metrics += measure_inside(family, yard.train, yard.test, seed=seed)
    if leads := lead(log):
        values = torch.tensor(leads, dtype=torch.float64)
        name = "discriminator's lead"
        metrics.append(measure(name, torch.mean, values, unit="nats", higher_is_better=False, seed=seed))
    if isinstance(family.loaded.model, ImageDiffusion):
        metrics += _by_steps(family, yard, settings)
    return metrics


def _between(family: Family, yard: Yardstick, *, seed: int) -> Metric:
    """The distance of pictures decoded straight halfway between two training pictures of one class."""
    places = some(yard.train, REBUILT[family.loaded.kind], seed=seed)
    if yard.train.labels is not None:  # one class after the other, so that neighbours share theirs
        places = places[yard.train.labels[places].argsort(stable=True)]
    labels = labels_of(family, yard.train, places)
    latents = family.encode(yard.train.pixels[places], labels)
    halfway = mixed(latents, latents.roll(-1, 0), num=3, mixing="linear")[:, 1]
    distance = yard.frechet(family.decode(halfway, labels), seed=seed)
    return distance._replace(name=f"midpoint {distance.name}")


def _by_steps(family: Family, yard: Yardstick, settings: LadderSettings) -> list[Metric]:
    """The Fréchet distance for each number of steps of the sampler."""
    count = min(settings.num_drawn, MOST_PER_STEPS)
    found = []
    for num_steps in STEPS:
        opened = open_family(family.loaded.folder, scale=settings.scale, num_steps=num_steps)
        pixels = draw_many(opened, count, seed=settings.seed).pixels
        distance = yard.frechet(pixels, seed=settings.seed)
        found.append(distance._replace(name=f"{distance.name}, {num_steps} steps"))
    return found
