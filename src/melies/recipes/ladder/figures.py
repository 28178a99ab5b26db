"""The pictures of a ladder's page: what rungs draw, rebuild and have in between."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from melies.data.images import ImageSet
from melies.images.families import Family
from melies.images.inside import labels_of
from melies.images.mix import mixed
from melies.metrics.neighbours import nearest
from melies.recipes.ladder.drawn import Drawn
from melies.recipes.ladder.yardstick import Yardstick
from melies.report.figure import grid, neighbours_figure
from melies.report.plot import map_figure
from melies.rng import generator_for

ROWS = 4
"""Pictures of each class on a sheet of samples."""
COLUMNS = 10
"""Pictures side by side, where classes do not set their number."""
WAY = 9
"""Pictures on a way from one to another, both included."""
MAPPED = 2_000
"""Latents on a map."""


def zoom_of(size: int, target_px: int = 56) -> int:
    """The whole factor that brings a picture nearest to a size that can be seen."""
    return max(1, round(target_px / size))


def samples_figure(drawn: Drawn, classes: Sequence[str]) -> Image.Image:
    """Some rows of what was drawn: the class of a column, where classes were asked for."""
    columns = _columns(classes) if drawn.labels is not None else COLUMNS
    pixels = drawn.pixels[: ROWS * columns]
    labels = list(classes) if drawn.labels is not None and columns == len(classes) else None
    return grid(pixels, columns=columns, column_labels=labels, zoom=zoom_of(pixels.shape[-1]))


def overview_figure(drawn: Mapping[str, Drawn], test: ImageSet) -> Image.Image:
    """One row of pictures for each rung, real ones on top; no rung's are chosen."""
    places = of_each_class(test, COLUMNS)
    rows = [test.pixels[places], *(pictures.pixels[: len(places)] for pictures in drawn.values())]
    return grid(
        torch.cat(rows),
        columns=len(places),
        row_labels=["real", *drawn],
        zoom=zoom_of(test.pixels.shape[-1]),
    )


def in_turn(pictures: ImageSet) -> Int64[Tensor, " k"]:
    """Places of as many pictures as `samples_figure` shows, the classes in turn."""
    return of_each_class(pictures, ROWS * _columns(pictures.classes))


def _columns(classes: Sequence[str]) -> int:
    """One for each class, where they fit."""
    return len(classes) if 0 < len(classes) <= 2 * COLUMNS else COLUMNS


def of_each_class(pictures: ImageSet, num: int, *, seed: int = 0) -> Int64[Tensor, " k"]:
    """Places of `num` pictures, the classes in turn, chosen by the seed."""
    order = torch.randperm(len(pictures), generator=generator_for(seed, "figure"))
    if pictures.labels is None:
        return order[:num]
    labels = pictures.labels[order]
    queues = [order[labels == label].tolist() for label in range(len(pictures.classes))]
    chosen: list[int] = []
    while len(chosen) < num and any(queues):
        chosen += [queue.pop(0) for queue in queues if queue]
    return torch.tensor(chosen[:num])


def reconstructions_figure(families: Mapping[str, Family], test: ImageSet) -> Image.Image:
    """Unseen pictures in the first row, and in the others what each family makes of them."""
    places = of_each_class(test, COLUMNS)
    real = test.pixels[places]
    rows = [
        real,
        *(family.reconstruct(real, labels_of(family, test, places)) for family in families.values()),
    ]
    return grid(
        torch.cat(rows),
        columns=len(real),
        row_labels=["unseen", *families],
        zoom=zoom_of(real.shape[-1]),
    )


def interpolations_figure(families: Mapping[str, Family], test: ImageSet) -> Image.Image:
    """The way between two unseen pictures through each family's latents, straight and along the sphere."""
    places = of_each_class(test, len(test.classes) or 2)[[0, -1]]
    ends = test.pixels[places]
    rows, labels = [], []
    for name, family in families.items():
        asked = labels_of(family, test, places)
        latents = family.encode(ends, asked)
        along = None if asked is None else torch.where(torch.arange(WAY) * 2 < WAY, asked[0], asked[1])
        for mixing in ("linear", "spherical"):
            way = mixed(latents[:1], latents[1:], num=WAY, mixing=mixing)[0]
            rows.append(torch.cat([ends[:1], family.decode(way, along), ends[1:]]))
            labels.append(f"{name}, {mixing}")
    titles = ["unseen", *[""] * WAY, "unseen"]
    return grid(
        torch.cat(rows),
        columns=WAY + 2,
        row_labels=labels,
        column_labels=titles,
        zoom=zoom_of(ends.shape[-1]),
    )


def latent_map_figure(name: str, family: Family, pictures: ImageSet) -> Image.Image:
    """Latents of pictures in the plane in which they spread most, coloured by class."""
    places = of_each_class(pictures, min(MAPPED, len(pictures)))
    latents = family.encode(pictures.pixels[places], labels_of(family, pictures, places))
    points, share = principal_plane(latents.flatten(1))
    labels = None if pictures.labels is None else pictures.labels[places].numpy()
    title = f"{name}: {share:.0%} of the variance of {latents[0].numel()} numbers"
    return map_figure(points.numpy(), labels, pictures.classes, title=title)


def principal_plane(latents: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n 2"], float]:
    """The first two principal components, and their share of the variance; zeros where there is no second."""
    centred = latents.double() - latents.double().mean(0)
    _, singular, axes = torch.linalg.svd(centred, full_matrices=False)
    share = float(singular[:2].square().sum() / singular.square().sum().clamp_min(1e-300))
    points = centred @ axes[:2].T
    return torch.nn.functional.pad(points, (0, 2 - points.shape[1])), share


def nearest_figure(drawn: Drawn, yard: Yardstick, *, num: int = 8) -> Image.Image:
    """Some drawn pictures, each with its three nearest training pictures."""
    pixels: UInt8[Tensor, "n c h w"] = drawn.pixels[:num]
    found = nearest(yard.space(pixels), yard.train_features, k=3)
    return neighbours_figure(
        pixels,
        [yard.train.pixels[row] for row in found.indices],
        distances=found.distances.tolist(),
        across=2,
        zoom=zoom_of(pixels.shape[-1]),
    )
