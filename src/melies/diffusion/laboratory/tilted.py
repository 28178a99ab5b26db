"""The density that guidance promises, p(x)·p(y|x)^s, normalised on a grid.

At s = 1 it is p(x|y), at s = 0 p(x); it never exceeds p(x) by more than its normalisation, so it always
exists. Guided sampling does not draw from it: by how much is what the laboratory measures.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from melies.config import check_range
from melies.diffusion.laboratory.mixture import Mixture
from melies.errors import UserError

SIDE = {1: 4096, 2: 256}
"""Cells along an axis, by dimension."""

CELLS = 64
"""Cells of equal mass that densities are compared on: in two dimensions 8 strips of 8."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GridDensity:
    """A density as masses of the cells of an even grid, float64; made by `tilted_density`."""

    low: Float[Tensor, " d"]
    """The corner of the grid."""
    step: Float[Tensor, " d"]
    """Sides of a cell."""
    masses: Float[Tensor, "*grid"]
    """Sum 1."""
    distances: Float[Tensor, "*grid"]
    """E|x − Y| from the centre of each cell, Y of this density."""
    cells: Int64[Tensor, "*grid"]
    """Which of the `CELLS` of about equal mass a cell is in."""

    @property
    def spread(self) -> float:
        """E|Y − Y′| of two independent draws."""
        return float((self.masses * self.distances).sum())

    def expected_distance(self, x: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """E|x − Y|, linear between the centres of cells, and from the whole grid outside it."""
        at = (x - self.low) / self.step - 0.5
        sizes = torch.tensor(self.masses.shape)
        corner = at.floor().clamp(torch.zeros_like(sizes), sizes - 2)
        part = at - corner
        found = torch.zeros(len(x), dtype=torch.float64)
        for corners in torch.cartesian_prod(*[torch.arange(2)] * len(sizes)).view(-1, len(sizes)):
            weight = torch.where(corners == 1, part, 1 - part).prod(1)
            found += weight * self.distances[tuple((corner.long() + corners).T)]
        outside = ((part < 0) | (part > 1)).any(1)
        if bool(outside.any()):
            centres, masses = self._centres()
            for row in outside.nonzero().flatten():
                found[row] = masses @ (centres - x[row]).norm(dim=1)
        return found

    def cell_of(self, x: Float[Tensor, "b d"]) -> Int64[Tensor, " b"]:
        """The cell of equal mass of each sample; outside the grid that of the nearest inside."""
        sizes = torch.tensor(self.masses.shape)
        at = ((x - self.low) / self.step).floor().long().clamp(torch.zeros_like(sizes), sizes - 1)
        return self.cells[tuple(at.T)]

    def cell_masses(self) -> Float[Tensor, " cells"]:
        """The mass of each of the `CELLS`."""
        return torch.zeros(CELLS, dtype=torch.float64).index_add_(
            0, self.cells.flatten(), self.masses.flatten()
        )

    def draw(self, num: int, generator: torch.Generator) -> Float[Tensor, "num d"]:
        """Independent samples, even within each cell."""
        cells = torch.multinomial(self.masses.flatten(), num, replacement=True, generator=generator)
        at = torch.stack(torch.unravel_index(cells, self.masses.shape), dim=1)
        inside = torch.rand(at.shape, generator=generator, dtype=torch.float64)
        return self.low + (at + inside) * self.step

    def _centres(self) -> tuple[Tensor, Tensor]:
        """Centres and masses of the cells that matter."""
        masses = self.masses.flatten()
        chosen = (masses > 1e-9).nonzero().flatten()
        at = torch.stack(torch.unravel_index(chosen, self.masses.shape), dim=1)
        return self.low + (at + 0.5) * self.step, masses[chosen]


def tilted_density(whole: Mixture, label: int, scale: float) -> GridDensity:
    """p(x)·p(y|x)^scale on a grid that holds the mixture to six deviations on every side.

    Args:
        whole: The data, in one or two dimensions.
        label: The class y.
        scale: The exponent, at least 0; in u + scale·(c − u) the score of this at the noise level 0.

    Raises:
        UserError: If the scale is negative or not finite, or the mixture has more dimensions.
    """
    check_range("scale", scale, low=0.0)
    dim = whole.means.shape[1]
    if dim not in SIDE:
        raise UserError(f"densities are compared in one or two dimensions, and this has {dim}")
    reach = 6 * whole.variances.max().sqrt()
    low, high = whole.means.amin(0) - reach, whole.means.amax(0) + reach
    step = (high - low) / SIDE[dim]
    centres = [low[i] + (torch.arange(SIDE[dim], dtype=torch.float64) + 0.5) * step[i] for i in range(dim)]
    points = torch.cartesian_prod(*centres).view(-1, dim)
    joint = whole.log_joint(points)
    log = joint.logsumexp(1) + scale * joint.log_softmax(1)[:, label]
    masses = log.softmax(0).view(*[SIDE[dim]] * dim)
    return GridDensity(
        low=low, step=step, masses=masses, distances=_distances(masses, step), cells=_equal_cells(masses)
    )


def _distances(masses: Tensor, step: Tensor) -> Tensor:
    """E|x − Y| at the centre of every cell: the masses convolved with the distance, by FFT."""
    sizes = masses.shape
    offsets = [torch.cat([torch.arange(n), torch.arange(-n, 0)]).double() for n in sizes]
    grids = torch.meshgrid(*(off * side for off, side in zip(offsets, step, strict=True)), indexing="ij")
    kernel = sum(grid.square() for grid in grids).sqrt()  # type: ignore[union-attr]
    doubled = [2 * n for n in sizes]
    whole = torch.fft.irfftn(torch.fft.rfftn(masses, s=doubled) * torch.fft.rfftn(kernel), s=doubled)
    return whole[tuple(slice(n) for n in sizes)].clamp(min=0)


def _equal_cells(masses: Tensor) -> Tensor:
    """Strips of equal mass along the first axis; in two dimensions each is cut again along the second."""
    if masses.ndim == 1:
        return _strips(masses, CELLS)
    side = round(CELLS**0.5)
    strip = _strips(masses.sum(1), side)
    cells = torch.empty(masses.shape, dtype=torch.int64)
    for number in range(side):
        rows = strip == number
        cells[rows] = number * side + _strips(masses[rows].sum(0), side)
    return cells


def _strips(masses: Tensor, count: int) -> Tensor:
    """The strip of each entry, by the mass up to its middle."""
    before = masses.cumsum(0) - masses / 2
    return (before / masses.sum() * count).long().clamp(0, count - 1)
