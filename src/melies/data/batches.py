"""Pictures in epochs, as a function of position: what the training loop asks a set of pictures for."""

from collections.abc import Callable

import torch
from torch import Tensor

from melies.data.balance import index_stream, uniform_at
from melies.data.images import ImageSet
from melies.transform import PixelRange


def picture_batches(
    pictures: ImageSet, *, seed: int, flip: bool = False
) -> Callable[[int, int], dict[str, Tensor]]:
    """Batches of a set of pictures, each picture once an epoch, in a new order each time.

    Args:
        pictures: At least one.
        seed: Another seed, another order.
        flip: Whether half of the pictures are shown mirrored.

    Returns:
        `(start, size) → batch` with `"pixels"` float (size, c, h, w) in [−1, 1] and, where the set has
        classes, `"class"` int64 (size,).
    """
    order = index_stream(torch.ones(len(pictures), dtype=torch.float64), seed=seed)

    def batches(start: int, size: int) -> dict[str, Tensor]:
        chosen = order(start, size)
        pixels = PixelRange().forward(pictures.pixels[chosen])
        if flip:
            mirrored = uniform_at(torch.arange(start, start + size), seed=seed, stream="flip") < 0.5
            pixels = torch.where(mirrored[:, None, None, None], pixels.flip(-1), pixels)
        return (
            {"pixels": pixels}
            if pictures.labels is None
            else {"pixels": pixels, "class": pictures.labels[chosen]}
        )

    return batches
