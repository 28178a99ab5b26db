"""Infrared: thermal pictures as they are, and an approximation by brightness."""

import numpy as np

from melies.images.conditions.each import Grey, Pixels, each, opencv


def thermal(pixels: Pixels) -> Grey:
    """Thermal pictures, warm in white: their brightness stretched from the coldest (0) to the warmest (255).

    For pictures of a thermal camera in shades of grey ("white hot"). False colours are read by their
    brightness, which is not the temperature.
    """
    return each(pixels, stretched_luminance)


def infrared_luminance(pixels: Pixels) -> Grey:
    """Brightness in place of infrared, stretched likewise: an approximation, for light tells no heat."""
    return each(pixels, stretched_luminance)


def stretched_luminance(picture: np.ndarray) -> np.ndarray:
    """Rec. 601 luma (h, w) of (h, w, 3) from 0 to 255; a picture of one level is black."""
    return stretched(opencv().cvtColor(picture, opencv().COLOR_RGB2GRAY).astype(np.float32))


def stretched(values: np.ndarray) -> np.ndarray:
    """Values from the least (0) to the largest (255), uint8; all 0 where they are all one, or not finite."""
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    low, high = values[finite].min(), values[finite].max()
    share = np.where(finite, values - low, 0) / (high - low) if high > low else np.zeros(values.shape)
    return (share * 255).clip(0, 255).astype(np.uint8)
