"""What a camera does beside its 27 translations: pan, tilt, roll, zoom, arc and dolly-zoom.

E.T. has words for translations only. The turns are those of GenDoP's tags (Zhang et al. 2025); the rest is of
the vocabulary of CameraBench (Lin et al. 2025), which keeps a zoom apart from a dolly, and an arc from a
truck.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from melies.camera.labels import signs_of
from melies.camera.path import CameraPath
from melies.camera.tag import find_segments, smooth_labels, tag_camera
from melies.geometry import camera_steps

TURNING = np.deg2rad(1.5)
"""Radians a second above which a camera turns about an axis."""
LEAD = 0.4
"""Share of the fastest turn by which it may lead before a slower one is dropped, as for translations."""
ZOOMING = 0.02
"""Change of the focal length a second, as a share of it, above which a lens zooms."""
ARC_RADIUS = (0.3, 20.0)
"""Metres to the point round which a camera goes."""

MOST_SAID = 5
"""Motions that a sentence tells, the longest."""

NAMES: Mapping[str, tuple[str, str]] = {
    "pan": ("pan_right", "pan_left"),
    "tilt": ("tilt_up", "tilt_down"),
    "roll": ("roll_clockwise", "roll_counterclockwise"),
    "zoom": ("zoom_in", "zoom_out"),
    "arc": ("arc_right", "arc_left"),
    "dolly-zoom": ("dolly_zoom_in", "dolly_zoom_out"),
}
"""What → its names, of + and of −."""
AXIS = {"tilt": 0, "pan": 1, "roll": 2}
"""Of the camera, about which it turns."""


class Motion(NamedTuple):
    """A run of steps with one motion."""

    name: str
    start: int
    """Its first step."""
    end: int
    """The step after its last."""


def label_motions(path: CameraPath) -> dict[str, Int64[ndarray, " steps"]]:
    """For each of `NAMES` −1, 0 or 1 a step: its second name, none, its first.

    Rolling clockwise is as seen from behind the camera. An arc is a truck that turns against its way, so that
    the camera goes round a point; a dolly-zoom pushes in and zooms out (its first name), or the reverse.

    Args:
        path: At the frame rate of E.T., which the windows of the tagger are for.
    """
    steps = camera_steps(path.world_from_camera, path.fps)
    turns = _turns(steps[:, 3:])
    found = {what: _smoothed(turns[:, axis]) for what, axis in AXIS.items()}
    found["zoom"] = _smoothed(_zooms(path))
    moves = signs_of(tag_camera(path.world_from_camera, path.fps))
    found["arc"] = _arcs(steps, moves[:, 0], found["pan"])
    found["dolly-zoom"] = np.where(moves[:, 2] * found["zoom"] < 0, moves[:, 2], 0)
    return found


def find_motions(path: CameraPath) -> list[Motion]:
    """Runs of every motion, by their beginning; several may be at one time.

    Args:
        path: At the frame rate of E.T.
    """
    found = []
    for what, signs in label_motions(path).items():
        for run in find_segments(signs):
            if run.label:
                found.append(Motion(NAMES[what][0 if run.label > 0 else 1], run.start, run.end))
    return sorted(found, key=lambda motion: (motion.start, motion.name))


def say_motions(motions: Sequence[Motion], steps: int) -> str:
    """Words for motions, to stand behind a caption: "It pans right and zooms in at the end.", or nothing."""
    told: list[str] = []
    longest = sorted(motions, key=lambda motion: motion.start - motion.end)[:MOST_SAID]
    for motion in (motion for motion in motions if motion in longest):
        kind, _, way = motion.name.rpartition("_")
        verb = {"dolly_zoom": "dolly-zooms", "arc": "arcs"}.get(kind, f"{kind}s")
        when = ""
        if motion.end - motion.start < 0.8 * steps:
            middle = (motion.start + motion.end) / 2 / steps
            when = " at first" if middle < 0.4 else " at the end" if middle > 0.6 else " in the middle"
        if (said := f"{verb} {way}{when}") not in told:
            told.append(said)
    if not told:
        return ""
    return f"It {', '.join(told[:-1])}{' and ' if len(told) > 1 else ''}{told[-1]}."


def _turns(angular: Float64[ndarray, "n 3"]) -> Int64[ndarray, "n 3"]:
    """Signs about the camera's own x, y and z: up, right and clockwise are +.

    They need no vertical, which a path out of pictures may not have; so a pan of a camera that looks far up
    or down is in part a roll.
    """
    speed = np.abs(angular)
    counts = (speed > TURNING) & (speed >= (1 - LEAD) * speed.max(1, keepdims=True))
    return (np.sign(angular) * counts).astype(np.int64)


def _zooms(path: CameraPath) -> Int64[ndarray, " n"]:
    if path.lens is None:
        return np.zeros(len(path) - 1, np.int64)
    rate = np.diff(np.log(path.lens[:, 1])) * path.fps
    return np.where(np.abs(rate) > ZOOMING, np.sign(rate), 0).astype(np.int64)


def _arcs(steps: ndarray, trucks: ndarray, pans: ndarray) -> ndarray:
    """Steps to the right with a turn to the left, or the reverse, about a point at a fit distance."""
    with np.errstate(divide="ignore", invalid="ignore"):
        radius = np.abs(steps[:, 0]) / np.abs(steps[:, 4])
    near = (radius > ARC_RADIUS[0]) & (radius < ARC_RADIUS[1])
    return _smoothed(np.where((trucks * pans < 0) & near, trucks, 0))


def _smoothed(signs: ndarray) -> ndarray:
    """Signs as the labels of the tagger are smoothed."""
    return (smooth_labels(signs.astype(np.int64) % 3) + 1) % 3 - 1
