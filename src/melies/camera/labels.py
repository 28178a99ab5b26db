"""The 27 translations of E.T.: names, signs and numbers of what a camera or a character does.

A label is 9·X + 3·Y + Z, each axis 0 still, 1 along +, 2 along −, in axes x right, y down, z forward: those
of the camera for a camera, those of the world for a character (Courant et al. 2024, §3.2 and the
published data).
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int, Int64
from numpy import ndarray

NUM_LABELS = 27
STATIC = 0

CAMERA_MOVES: Mapping[tuple[int, int], str] = {
    (0, 1): "trucking_right",
    (0, -1): "trucking_left",
    (1, 1): "boom_bottom",
    (1, -1): "boom_top",
    (2, 1): "push_in",
    (2, -1): "pull_out",
}
"""(axis, sign) → name, as published."""

CHARACTER_MOVES: Mapping[tuple[int, int], str] = {
    (0, 1): "move_right",
    (0, -1): "move_left",
    (1, 1): "move_down",
    (1, -1): "move_up",
    (2, 1): "move_forward",
    (2, -1): "move_backward",
}
"""(axis, sign) → name, as published."""


def label_of(signs: Int[ndarray, "*n 3"]) -> Int64[ndarray, "*n"]:
    """Signs −1, 0, 1 along x, y, z to labels."""
    return np.asarray(signs.astype(np.int64) % 3 @ np.array([9, 3, 1]))


def signs_of(label: Int[ndarray, "*n"] | int) -> Int64[ndarray, "*n 3"]:
    """Labels to signs −1, 0, 1 along x, y, z."""
    digits = np.asarray(label, np.int64)[..., None] // np.array([9, 3, 1]) % 3
    return np.where(digits == 2, -1, digits)


def camera_name(label: int) -> str:
    """`9 → "trucking_right"`, `10 → "trucking_right-push_in"`, `0 → "static"`, as published."""
    return _name(label, CAMERA_MOVES)


def character_name(label: int) -> str:
    """`9 → "move_right"`, `0 → "static"`, as published."""
    return _name(label, CHARACTER_MOVES)


def moves_of(label: int) -> list[tuple[int, int]]:
    """The (axis, sign) of which a label is made, in the order x, y, z; none of static."""
    return [(axis, int(sign)) for axis, sign in enumerate(signs_of(label)) if sign]


def _name(label: int, moves: Mapping[tuple[int, int], str]) -> str:
    return "-".join(moves[move] for move in moves_of(label)) or "static"
