"""Windows of a reconstruction joined into one path: each is scaled and moved onto the one before.

Courant et al. (2024), §3.1: methods that see a few hundred frames at a time give each window a scale and an
origin of its own, but agree on rotations; where windows overlap, positions say the rest.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from melies.errors import UserError
from melies.geometry import Pose, inverse

STILL = 1e-6
"""A camera whose positions in an overlap vary by less says nothing of scale, m²."""


class Window(NamedTuple):
    """Some frames, in a world of their own."""

    start: int
    """The first frame, of the shot."""
    world_from_camera: Float64[ndarray, "n 4 4"]
    character: Float64[ndarray, "n 3"] | None = None
    """Where the character is, NaN where it is not seen; in metres from the camera whatever the scale."""


class Fit(NamedTuple):
    """Positions x become scale · x + shift."""

    scale: float
    shift: Float64[ndarray, "3"]


class Joined(NamedTuple):
    """The windows as one."""

    world_from_camera: Float64[ndarray, "n 4 4"]
    character: Float64[ndarray, "n 3"] | None
    fits: tuple[Fit, ...]
    """Of each window."""


def join_windows(windows: Sequence[Window]) -> Joined:
    """One path of all windows, in the world and the scale of the first.

    Of frames that are in two windows the earlier one is kept. A character keeps its place beside its camera,
    as methods that know how tall people are give it in metres there. A scale that comes out negative or
    not at all, as beside a camera that stands still, is that of the window before; the published code turns
    the path round instead.

    Raises:
        UserError: If there is none, or one does not overlap the one before.
    """
    if not windows:
        raise UserError("there are no windows to join")
    windows = sorted(windows, key=lambda one: one.start)
    poses: list[ndarray] = []
    characters: list[ndarray] = []
    fits = []
    first = windows[0].start
    fit = Fit(1.0, np.zeros(3))
    for window in windows:
        known = first + len(poses)
        shared = known - window.start
        if poses:
            if shared < 1:
                raise UserError(
                    f"frames {known} to {window.start - 1} are in no window",
                    remedy="give windows that overlap by some frames",
                )
            count = min(shared, len(window.world_from_camera))
            before = np.stack(poses[window.start - first : window.start - first + count])
            fit = fit_positions(before[:, :3, 3], window.world_from_camera[:count, :3, 3], fit.scale)
        fits.append(fit)
        moved = window.world_from_camera.copy()
        moved[:, :3, 3] = fit.scale * moved[:, :3, 3] + fit.shift
        poses.extend(moved[shared:])
        if window.character is not None:
            characters.extend(_carried(window.character, window.world_from_camera, moved)[shared:])
    if characters and len(characters) != len(poses):
        raise UserError("some windows have a character and some do not")
    return Joined(np.stack(poses), np.stack(characters) if characters else None, tuple(fits))


def fit_positions(
    target: Float64[ndarray, "n 3"], source: Float64[ndarray, "n 3"], usual: float = 1.0
) -> Fit:
    """The scale and shift that bring the source nearest to the target, by least squares, in closed form.

    Args:
        target: Where positions ought to be.
        source: Where they are.
        usual: The scale where positions say nothing of it.
    """
    away, moved = target - target.mean(0), source - source.mean(0)
    spread = float(np.square(moved).sum())
    scale = float((away * moved).sum()) / spread if spread > STILL * len(source) else usual
    if scale <= 0:
        scale = usual
    return Fit(scale, target.mean(0) - scale * source.mean(0))


def _carried(character: ndarray, before: Pose, after: Pose) -> ndarray:
    """Points that stay where they are beside cameras that are moved."""
    move = after @ inverse(before)
    return np.einsum("nij,nj->ni", move[:, :3, :3], character) + move[:, :3, 3]
