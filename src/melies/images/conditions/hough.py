"""Straight lines by the probabilistic Hough transform."""

import numpy as np
from jaxtyping import Int32

from melies.images.conditions.canny import edges
from melies.images.conditions.each import Grey, Pixels, each, opencv, relative

VOTES, LENGTH, GAP = 50.0, 50.0, 5.0
"""Edge pixels on a line, its least length, and the largest gap in it, at a shorter side of 512 pixels."""
LEAST = (10.0, 8.0, 2.0)
"""The same in small pictures, in their own pixels."""


def hough(pixels: Pixels) -> Grey:
    """Straight lines one pixel wide, 255 on 0: the colours of the M-LSD annotator of the public ControlNets.

    The lines are not that network's: they are what a vote of Canny's edges finds.

    Source: Matas, Galambos & Kittler (2000), Robust detection of lines using the progressive probabilistic
    Hough transform, by OpenCV.
    """
    return each(pixels, _drawn)


def lines(picture: np.ndarray) -> Int32[np.ndarray, "lines 4"]:
    """The ends (x₁, y₁, x₂, y₂) in pixels of the lines of one picture (h, w, 3)."""
    votes, length, gap = (
        relative(at_reference, picture, least=least)
        for at_reference, least in zip((VOTES, LENGTH, GAP), LEAST, strict=True)
    )
    found = opencv().HoughLinesP(
        edges(picture), 1, np.pi / 180, round(votes), minLineLength=length, maxLineGap=gap
    )
    return np.empty((0, 4), np.int32) if found is None else found.reshape(-1, 4)


def _drawn(picture: np.ndarray) -> np.ndarray:
    canvas = np.zeros(picture.shape[:2], np.uint8)
    for x1, y1, x2, y2 in lines(picture).tolist():
        opencv().line(canvas, (x1, y1), (x2, y2), 255, 1)
    return canvas
