"""The tagger of E.T.: which of 27 translations a camera, or a character, makes at each frame.

Courant et al. (2024), §3.2; windows, thresholds and the order of comparisons are those of the published
code, whose stored labels this gives to the last frame.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64
from numpy import ndarray

from melies.camera.labels import NUM_LABELS, label_of
from melies.geometry import camera_steps

FPS = 25.0
"""Frames per second of E.T.; thresholds are in metres per second."""


class Thresholds(NamedTuple):
    """When an axis counts as moving."""

    still: float
    """Speed up to which an axis is still, m/s."""
    lead: float
    """Share of the faster axis by which it may lead before the slower one is dropped."""


CAMERA = Thresholds(still=0.02, lead=0.4)
CHARACTER = Thresholds(still=0.22, lead=0.32)

WINDOW = 56
"""Frames over which the most frequent label is taken; shorter tracks are left as they are."""
SHORTEST = 25
"""Frames below which a run of one label is given to its neighbours."""


class Segment(NamedTuple):
    """A run of frames with one label."""

    label: int
    start: int
    """Its first frame."""
    end: int
    """The frame after its last."""


def tag_camera(world_from_camera: Float64[ndarray, "n 4 4"], fps: float = FPS) -> Int64[ndarray, "n-1"]:
    """Labels of a camera path, one for each step between frames, from its motion in its own axes."""
    velocity = camera_steps(world_from_camera, fps)[:, :3]
    return smooth_labels(label_velocity(velocity, CAMERA))


def tag_character(positions: Float64[ndarray, "n 3"], fps: float = FPS) -> Int64[ndarray, "n-1"]:
    """Labels of a character's path in the axes of the world, one for each step between frames."""
    return smooth_labels(label_velocity(fps * np.diff(positions, axis=0), CHARACTER))


def label_velocity(velocity: Float[ndarray, "n 3"], limits: Thresholds) -> Int64[ndarray, " n"]:
    """A label for each velocity (m/s), frame by frame.

    An axis counts above `still`. Of two that count the slower is dropped if the faster leads by more than
    `lead` of its own speed; of three, x is compared with y, then x with z, then y with z.
    """
    speed = np.abs(velocity)
    active = speed > limits.still
    all_three = active.all(1)
    counts = active.copy()
    for one, other in ((0, 1), (0, 2), (1, 2)):
        faster = np.maximum(speed[:, one], speed[:, other])
        lead = (speed[:, one] - speed[:, other]) / np.where(faster > 0, faster, 1)
        compared = all_three | (active[:, one] & active[:, other])
        counts[:, other] &= ~(compared & (lead > limits.lead))
        counts[:, one] &= ~(compared & (lead < -limits.lead))
    return label_of(np.sign(velocity).astype(np.int64) * counts)


def smooth_labels(
    labels: Int64[ndarray, " n"], *, window: int = WINDOW, shortest: int = SHORTEST
) -> Int64[ndarray, " n"]:
    """The most frequent label around each frame, then runs shorter than `shortest` given to neighbours."""
    return _without_short_runs(_most_frequent(labels, window), shortest)


def find_segments(labels: Int64[ndarray, " n"]) -> list[Segment]:
    """Runs of one label, in order; together they are the whole track."""
    borders = [0, *(np.flatnonzero(np.diff(labels)) + 1), len(labels)]
    return [
        Segment(int(labels[start]), int(start), int(end))
        for start, end in itertools.pairwise(borders)
        if end > start
    ]


def _most_frequent(labels: ndarray, window: int) -> ndarray:
    """The mode within half a window on both sides, of those that are there; the smallest of equals."""
    n, half = len(labels), window // 2
    if n < window:
        return labels
    counts = np.zeros((n + 1, NUM_LABELS), np.int64)
    np.cumsum(np.eye(NUM_LABELS, dtype=np.int64)[labels], axis=0, out=counts[1:])
    at = np.arange(n)
    return (counts[np.minimum(at + half + 1, n)] - counts[np.maximum(at - half, 0)]).argmax(1)


def _without_short_runs(labels: ndarray, shortest: int) -> ndarray:
    """The shortest run goes first, half to each side, the odd frame to the left.

    Two neighbours that come to have the same label stay two runs, and may go in turn: so it is in the
    published labels.
    """
    runs = [[run.label, run.end - run.start] for run in find_segments(labels)]
    while len(runs) > 1:
        index = min(range(len(runs)), key=lambda i: runs[i][1])
        length = runs[index][1]
        if length >= shortest:
            break
        if index == 0:
            runs[1][1] += length
        elif index == len(runs) - 1:
            runs[-2][1] += length
        else:
            runs[index - 1][1] += (length + 1) // 2
            runs[index + 1][1] += length // 2
        del runs[index]
    values, lengths = zip(*runs, strict=True) if runs else ((), ())
    return np.repeat(np.array(values, np.int64), np.array(lengths, np.int64))
