"""Where people are in space, from where their joints are in pictures: near enough to say how a shot moves.

This is no reconstruction of bodies. A person is taken for one of average build who stands or sits: the limb
that looks longest for its length says how far away they are, as one that points at the camera looks shorter.
Ten per cent of height more or less are ten per cent of distance.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from melies.geometry import inverse
from melies.video.pose import POINTS, Pose

STATURE = 1.7
"""Metres from head to foot of the person that everybody is taken for."""
SHARES = {
    "thigh": 0.245,
    "shank": 0.246,
    "trunk": 0.288,
    "upper arm": 0.186,
    "forearm": 0.146,
}
"""Lengths of parts of the body as shares of it (Drillis & Contini 1966, in Winter 2009, fig. 4.1)."""
SURE = 0.3
"""Least confidence of a joint."""
LONGEST = 0.8
"""Of the limbs' distances, nearest first: the share of the way at which the one that counts lies."""
LEAST_POINTS = 40
"""Points of the scene, over all pictures, beside feet that say how large its unit is."""
BESIDE = (1.5, 0.12)
"""How far beside and above or below the feet they may be, in heights from hips to feet in the picture: ground
that is seen as high as the feet is as far as they are."""

_AT = {name: number for number, name in enumerate(POINTS)}
_LIMBS = tuple(
    (part, _AT[f"{side} {begin}"], _AT[f"{side} {end}"])
    for side in ("right", "left")
    for part, begin, end in (
        ("thigh", "hip", "knee"),
        ("shank", "knee", "ankle"),
        ("trunk", "shoulder", "hip"),
        ("upper arm", "shoulder", "elbow"),
        ("forearm", "elbow", "wrist"),
    )
)


class Scale(NamedTuple):
    """How long a unit of a reconstruction is."""

    metres: float
    how: Literal["feet", "guess"]
    """By what is seen beside the person's feet, or else as if the near scene were as far as they are."""


def lift_hips(
    poses: Sequence[Pose | None], lens: Float64[ndarray, "4"], size: tuple[int, int]
) -> Float64[ndarray, "n 3"]:
    """Where the middle of the hips is, metres from the camera in its axes; NaN where it is not seen.

    Args:
        poses: The person of each picture, if there is one.
        lens: fx/width, fy/height, cx/width, cy/height.
        size: Width and height of the pictures, pixels.
    """
    found = np.full((len(poses), 3), np.nan)
    focal, centre = lens[:2] * size, lens[2:] * size - 0.5
    for row, pose in enumerate(poses):
        if pose is None:
            continue
        at, sure = pose.points[:, :2].astype(np.float64), pose.points[:, 2] >= SURE
        hips = [_AT["right hip"], _AT["left hip"]]
        if not sure[hips].all():
            continue
        seen = (at - centre) / focal  # at a distance of one metre, in metres
        away = sorted(
            STATURE * SHARES[part] / max(float(np.linalg.norm(seen[begin] - seen[end])), 1e-6)
            for part, begin, end in _LIMBS
            if sure[begin] and sure[end]
        )
        if len(away) >= 3:
            distance = away[int((1 - LONGEST) * (len(away) - 1))]
            found[row] = distance * np.append(seen[hips].mean(0), 1.0)
    return found


def find_scale(
    hips: Float64[ndarray, "n 3"],
    poses: Sequence[Pose | None],
    world_from_camera: Float64[ndarray, "n 4 4"],
    points: Float64[ndarray, "m 3"],
    lens: Float64[ndarray, "4"],
    size: tuple[int, int],
) -> Scale:
    """How long a unit of the reconstruction is, if what is seen beside a person's feet is as far as they are.

    Args:
        hips: As of `lift_hips`.
        poses: The same people.
        world_from_camera: Poses of the camera in units of the reconstruction.
        points: The scene in the same.
        lens: As of `lift_hips`.
        size: Width and height of the pictures, pixels.
    """
    focal, centre = lens[:2] * size, lens[2:] * size - 0.5
    ratios, depths = [], []
    for hip, pose, camera in zip(hips, poses, inverse(world_from_camera), strict=True):
        there = points @ camera[:3, :3].T + camera[:3, 3]
        there = there[there[:, 2] > 1e-6]
        if not len(there):
            continue
        if not np.isfinite(hip).all() or pose is None:
            continue
        depths.append(np.quantile(there[:, 2], 0.25) / hip[2])
        ankles = pose.points[[_AT["right ankle"], _AT["left ankle"]]]
        if (ankles[:, 2] < SURE).any():
            continue
        feet = ankles[:, :2].mean(0)
        height = abs(feet[1] - (hip[1] / hip[2] * focal[1] + centre[1]))
        shown = there[:, :2] / there[:, 2:] * focal + centre
        beside = (np.abs(shown - feet) < np.array(BESIDE) * height).all(axis=1)
        ratios += list(hip[2] / there[beside, 2])
    if len(ratios) >= LEAST_POINTS:
        return Scale(float(np.median(ratios)), "feet")
    return Scale(1 / float(np.median(depths)) if depths else 1.0, "guess")
