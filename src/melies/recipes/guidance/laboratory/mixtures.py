"""The mixtures of the laboratory: the same questions in geometries that may answer them differently."""

import math

from melies.diffusion.laboratory.mixture import Mixture, mixture


def line() -> Mixture:
    """Two classes on a line that overlap: unit Gaussians at −1 and 1."""
    return mixture([0.5, 0.5], [[-1.0], [1.0]], [[[1.0]], [[1.0]]], [0, 1])


def overlapping() -> Mixture:
    """Two classes of two wide Gaussians each, crosswise in the plane."""
    wide = [[0.8, 0.0], [0.0, 0.8]]
    return mixture([0.25] * 4, [[-1, 1], [1, 1], [-1, -1], [1, -1]], [wide] * 4, [0, 0, 1, 1])


def separated() -> Mixture:
    """Three classes of two narrow Gaussians each, on a circle, each beside those of another class."""
    narrow = [[0.08, 0.0], [0.0, 0.08]]
    angles = [math.tau * i / 6 for i in range(6)]
    means = [[2.5 * math.cos(angle), 2.5 * math.sin(angle)] for angle in angles]
    return mixture([1 / 6] * 6, means, [narrow] * 6, [0, 1, 2, 0, 1, 2])


def unequal() -> Mixture:
    """A rare class of a large and a small mode: the small one lies among the common class."""
    small, large = [[0.3, 0.0], [0.0, 0.3]], [[1.0, 0.0], [0.0, 1.0]]
    return mixture([0.16, 0.04, 0.8], [[-1.5, 0], [1.5, 0.8], [1.0, 0]], [small, small, large], [0, 0, 1])


def anisotropic() -> Mixture:
    """Two classes of a thin and long Gaussian each, which cross at a right angle."""
    across, down = [[2.0, 1.8], [1.8, 2.0]], [[2.0, -1.8], [-1.8, 2.0]]
    return mixture([0.5, 0.5], [[0.5, 0.5], [0.5, -0.5]], [across, down], [0, 1])


MIXTURES = {
    "line": line,
    "overlapping": overlapping,
    "separated": separated,
    "unequal": unequal,
    "anisotropic": anisotropic,
}
"""By name."""
