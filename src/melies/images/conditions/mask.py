"""Masks: the foreground, and areas of like colour."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from melies.images.conditions.each import Colour, Grey, Pixels, each, opencv

NUM_CLUSTERS = 8
"""Colours that a picture is divided into."""
SAMPLES = 4096
"""Pixels, spread evenly, by which the colours are found."""
ROUNDS = 12
"""Turns of Lloyd's algorithm."""
ON_BORDER = 0.15
"""Share of the picture's border from which a colour counts as background."""


def mask(pixels: Pixels) -> Grey:
    """The foreground, 255 on 0.

    Of pictures with transparency, what is at least half opaque. Of others, all but the areas of the border's
    colours that reach the border: an approximation by colour, not a network's.
    """
    if pixels.shape[1] == 4:
        return torch.where(pixels[:, 3:] >= 128, 255, 0).to(torch.uint8)
    return each(pixels, _foreground)


def clusters(pixels: Pixels) -> Colour:
    """Areas of like colour in CIELAB, each filled with its mean colour: no classes, and not ADE20K's colours.

    Source: Lloyd (1982), Least squares quantization in PCM, begun from the farthest colours.
    """
    return each(pixels, _filled, channels=3)


def class_mask(classes: Int[Tensor, "n h w"], wanted: int) -> Grey:
    """Where a map of class numbers has one class: 255 on 0."""
    return torch.where(classes[:, None] == wanted, 255, 0).to(torch.uint8)


def cluster_numbers(picture: np.ndarray, count: int = NUM_CLUSTERS) -> np.ndarray:
    """The cluster (h, w), int64, of each pixel of (h, w, 3); fewer than `count` where colours are fewer."""
    lab = opencv().cvtColor(picture.astype(np.float32) / 255, opencv().COLOR_RGB2LAB)
    points = torch.from_numpy(lab.reshape(-1, 3))
    some = points[:: max(1, len(points) // SAMPLES)]
    centres = _centres(some, count)
    return (
        torch.cat([_distances(part, centres).argmin(1) for part in points.split(1 << 16)])
        .numpy()
        .reshape(picture.shape[:2])
    )


def _centres(points: Float[Tensor, "n 3"], count: int) -> Float[Tensor, "k 3"]:
    """Begun from the point nearest to the mean, then always the one farthest from all so far: no chance."""
    centres = points[_distances(points, points.mean(0, keepdim=True)).argmin()][None]
    while len(centres) < count:
        nearest = _distances(points, centres).amin(1)
        if nearest.max() < 1:  # a just noticeable difference in CIELAB
            break
        centres = torch.cat([centres, points[nearest.argmax()][None]])
    for _ in range(ROUNDS):
        chosen = _distances(points, centres).argmin(1)
        sums = torch.zeros_like(centres).index_add_(0, chosen, points)
        counts = torch.bincount(chosen, minlength=len(centres))[:, None]
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return centres


def _distances(points: Float[Tensor, "n 3"], centres: Float[Tensor, "k 3"]) -> Float[Tensor, "n k"]:
    """Squared, by differences: a product of matrices would lose what is near zero."""
    return (points[:, None] - centres).square().sum(2)


def _foreground(picture: np.ndarray) -> np.ndarray:
    cv2, numbers = opencv(), cluster_numbers(picture)
    border = np.concatenate([numbers[0], numbers[-1], numbers[1:-1, 0], numbers[1:-1, -1]])
    shares = np.bincount(border, minlength=numbers.max() + 1) / len(border)
    behind = (shares >= ON_BORDER)[numbers]
    # the same colour inside, such as the white of an eye on white paper, belongs to what is shown
    _, parts = cv2.connectedComponents(behind.astype(np.uint8), connectivity=4)
    reaching = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    return np.where(behind & np.isin(parts, reaching), np.uint8(0), np.uint8(255))


def _filled(picture: np.ndarray) -> np.ndarray:
    numbers = cluster_numbers(picture).reshape(-1)
    counts = np.bincount(numbers).clip(1)
    means = np.stack([np.bincount(numbers, picture[..., c].reshape(-1)) / counts for c in range(3)], axis=1)
    return means.round().astype(np.uint8)[numbers].reshape(picture.shape)
