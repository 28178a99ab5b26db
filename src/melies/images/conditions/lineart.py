"""A line drawing without a network: where a picture is darker than what is around it."""

import numpy as np

from melies.images.conditions.each import Grey, Pixels, each, opencv, relative

BLUR = 6.0
"""Standard deviation in pixels of what counts as around, at a shorter side of 512 pixels."""
FINEST = 1.2
"""The least of it in any picture."""
FAINT = 8
"""Levels below which a difference says nothing of how strong the lines are."""
WEAKEST = 16
"""Levels of a median line from which lines are no longer made stronger."""


def lineart(pixels: Pixels) -> Grey:
    """Lines, white on black: the median line has level 127, stronger ones up to 255.

    The convention of controlnet_aux's LineartStandardDetector (and of the `lineart` ControlNet 1.1), in the
    picture's own size.
    """
    return each(pixels, _drawn)


def _drawn(picture: np.ndarray) -> np.ndarray:
    levels = picture.astype(np.float32)
    sigma = relative(BLUR, picture, least=FINEST)
    darker = (opencv().GaussianBlur(levels, (0, 0), sigma) - levels).min(axis=2).clip(0, 255)
    lines = darker[darker > FAINT]
    median = float(np.median(lines)) if lines.size else 0.0
    return (darker * (127 / max(WEAKEST, median))).clip(0, 255).astype(np.uint8)
