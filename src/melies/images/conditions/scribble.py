"""Scribbles: the main edges as thick strokes, with the unsteadiness of a hand."""

from dataclasses import dataclass

import numpy as np
import torch

from melies.config import check_range
from melies.images.conditions.canny import edges
from melies.images.conditions.each import Grey, Pixels, each, opencv, relative
from melies.rng import generator_for

BLUR = 3.0
"""Standard deviation in pixels of the blur that lines are taken after, and of the one that makes strokes of
them, at a shorter side of 512 pixels."""
FINEST = 0.45
"""The least of it in any picture."""
INK = 4
"""Level from which a blurred line counts as ink: both numbers are those of ControlNet's scribbles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """How a hand draws; all lengths are shares of the picture's shorter side."""

    shake: float = 0.008
    """Standard deviation of how far strokes lie from the edge."""
    bend: int = 6
    """Wavering over the picture: cells of the noise along a side."""
    lifted: float = 0.12
    """Share of the picture, in patches, in which the pen was lifted."""
    width: tuple[float, float] = (0.75, 1.35)
    """Least and largest width of the strokes; one width is drawn for each picture."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("shake", self.shake, low=0, high=0.2)
        check_range("bend", self.bend, low=1, high=64)
        check_range("lifted", self.lifted, low=0, high=0.9)
        for width in self.width:
            check_range("width", width, low=0.25, high=4)


STEADY = Hand(shake=0.0, lifted=0.0, width=(1.0, 1.0))
"""A hand that draws what it sees."""


def scribble(pixels: Pixels, *, seed: int = 0, hand: Hand | None = None) -> Grey:
    """Strokes, 255 on 0: the scribbles of the public ControlNets, from edges that are not learned.

    Args:
        pixels: Pictures.
        seed: Which drawing; picture i of a batch has its own.
        hand: How it is drawn; None for the defaults.
    """
    hand, numbers = hand or Hand(), iter(range(len(pixels)))

    def drawn(picture: np.ndarray) -> np.ndarray:
        rng = generator_for(seed, "scribble", next(numbers))
        sigma = relative(BLUR, picture, least=FINEST)
        lines = _with_gaps(edges(opencv().GaussianBlur(picture, (0, 0), sigma / 2)), hand, rng)
        low, high = hand.width
        wide = sigma * (low + (high - low) * float(torch.rand((), generator=rng)))
        return strokes(lines, wide, *_shake(hand, lines.shape[0], lines.shape[1], rng))

    return each(pixels, drawn)


def strokes(
    lines: np.ndarray, sigma: float, across: np.ndarray | float = 0.0, down: np.ndarray | float = 0.0
) -> np.ndarray:
    """Lines one pixel wide as strokes about 4 σ wide: what a blur of σ pixels leaves of them.

    Args:
        lines: uint8 (h, w), 255 on 0.
        sigma: In pixels.
        across: How far right of itself each pixel looks for its line, in pixels.
        down: So, below itself.
    """
    cv2, (h, w) = opencv(), lines.shape
    ink = cv2.GaussianBlur(lines.astype(np.float32), (0, 0), sigma)
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    # after the blur, so that a line moved by part of a pixel does not break
    moved = cv2.remap(ink, (x + across).astype(np.float32), (y + down).astype(np.float32), cv2.INTER_LINEAR)
    return np.where(moved > INK, np.uint8(255), np.uint8(0))


def _shake(hand: Hand, h: int, w: int, rng: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
    far = hand.shake * min(h, w)
    return far * _waves(hand.bend, h, w, rng), far * _waves(hand.bend, h, w, rng)


def _with_gaps(lines: np.ndarray, hand: Hand, rng: torch.Generator) -> np.ndarray:
    pen = _waves(hand.bend, lines.shape[0], lines.shape[1], rng)
    return np.where(pen > np.quantile(pen, hand.lifted), lines, np.uint8(0)) if hand.lifted else lines


def _waves(cells: int, h: int, w: int, rng: torch.Generator) -> np.ndarray:
    """Smooth noise (h, w), float32, about standard normal in its cells."""
    coarse = torch.randn(cells + 1, cells + 1, generator=rng).numpy()
    return opencv().resize(coarse, (w, h), interpolation=opencv().INTER_CUBIC)
