"""Soft edges: how strong the edge at a pixel is, by contrast at several scales or by a network of others."""

from collections.abc import Callable
from math import pi, sqrt
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from melies.foreign import read_weights
from melies.images.conditions.each import Grey, Pixels, each, on_white, opencv, relative

SCALES = (2.0, 4.0, 8.0)
"""Standard deviations in pixels of the three blurs, at a shorter side of 512 pixels."""
FINEST = 0.7
"""The least in pixels of any picture: a finer blur is lost between its samples."""
FULL = 64
"""Contrast in levels that is drawn white."""


def softedge(pixels: Pixels) -> Grey:
    """Contrast across edges, white from a quarter of full contrast on: not learned, and not HED.

    At each scale the gradient of the blurred picture times σ√(2π), which on a straight step is its height;
    the mean over the scales, of the colour where it is strongest. The colours are those of the public soft
    edge ControlNets.
    """
    return each(pixels, lambda picture: (contrast(picture) * (255 / FULL)).clip(0, 255).astype(np.uint8))


def contrast(picture: np.ndarray) -> np.ndarray:
    """Levels (h, w), float32, by which the sides of the edge at each pixel of (h, w, 3) differ."""
    cv2, levels = opencv(), picture.astype(np.float32)
    found = np.zeros(picture.shape[:2], np.float32)
    for scale in SCALES:
        sigma = relative(scale, picture, least=FINEST)
        blurred = cv2.GaussianBlur(levels, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        across = cv2.Sobel(blurred, cv2.CV_32F, 1, 0, ksize=1, scale=0.5, borderType=cv2.BORDER_REPLICATE)
        down = cv2.Sobel(blurred, cv2.CV_32F, 0, 1, ksize=1, scale=0.5, borderType=cv2.BORDER_REPLICATE)
        found += np.hypot(across, down).max(axis=2) * (sigma * sqrt(2 * pi) / len(SCALES))
    return found


def open_hed(weights: Path) -> Callable[[Tensor], Tensor]:
    """Soft edges by HED (Xie & Tu 2015) in the Apache-2 version of ControlNet: probability, 255 is sure.

    Raises:
        UserError: If the file cannot be read, or holds another network.
    """
    from melies.nn.hed import hed_edges

    table = read_weights(weights)
    hed_edges(table, torch.zeros(1, 3, 16, 16))  # another network is refused now, not at the first picture
    return lambda pixels: _levels(hed_edges, table, on_white(pixels).float())


def open_pidinet(weights: Path) -> Callable[[Tensor], Tensor]:
    """Soft edges by PiDiNet (Su et al. 2021), as `open_hed`; the network is given blue first, in [0, 1].

    Raises:
        UserError: If the file cannot be read, or holds another network.
    """
    from melies.nn.pidinet import pidinet_edges

    table = {name.removeprefix("module."): value for name, value in read_weights(weights).items()}
    pidinet_edges(table, torch.zeros(1, 3, 16, 16))
    return lambda pixels: _levels(pidinet_edges, table, on_white(pixels).flip(1).float() / 255)


@torch.no_grad()
def _levels(network: Callable[..., Tensor], weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """One picture at a time: the networks are large, and pictures may be."""
    found = [(network(weights, one[None]) * 255).to(torch.uint8) for one in x]
    return torch.cat(found) if found else torch.empty(0, 1, *x.shape[2:], dtype=torch.uint8)
