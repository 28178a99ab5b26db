"""Edges by Canny (1986), as the public ControlNets were given them."""

import numpy as np

from melies.images.conditions.each import Grey, Pixels, each, opencv

LOW, HIGH = 100, 200
"""Strength of gradients (L1 of a 3×3 Sobel, levels of 8 bits): edges begin above the second, and go on above
the first. Those of controlnet_aux's CannyDetector."""


def canny(pixels: Pixels) -> Grey:
    """Edges one pixel wide, 255 on 0; of the three colours the one with the strongest gradient counts.

    Source: Canny (1986), A computational approach to edge detection, by OpenCV.
    """
    return each(pixels, edges)


def edges(picture: np.ndarray) -> np.ndarray:
    """The edges (h, w) of one picture (h, w, 3)."""
    return opencv().Canny(picture, LOW, HIGH)
