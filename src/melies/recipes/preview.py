"""What models show while they train: of autoencoders pictures beside their reconstructions, and new ones."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from melies.data.images import ImageSet
from melies.files import write_bytes
from melies.report.figure import grid
from melies.report.png import png_bytes
from melies.rng import noise_for
from melies.transform import PixelRange

PAIRS = 16
"""Pictures in a preview, each beside its reconstruction."""

DRAWN = 16
"""New pictures in a preview, of each class in turn."""


def preview_autoencoder(pictures: ImageSet, *, draws: bool) -> Callable[[Any, Path, int], None]:
    """A preview for the training loop, of a `PictureModel` that reconstructs.

    Args:
        pictures: Some of them, at even distances, are shown with their reconstructions.
        draws: Whether the model can already draw while it trains; what it draws is shown below them.
    """
    chosen = torch.linspace(0, len(pictures) - 1, PAIRS).long()
    some = PixelRange().forward(pictures.pixels[chosen])
    given = None if pictures.labels is None else pictures.labels[chosen]

    def preview(model: Any, folder: Path, samples_seen: int) -> None:
        device = next(model.parameters()).device
        labels = given.to(device) if given is not None and model.classes else None
        rebuilt = model.decode(model.encode(some.to(device), labels), labels).cpu()
        sheet = torch.stack([some, rebuilt], 1).flatten(0, 1)
        if draws:
            asked = torch.arange(DRAWN, device=device) % len(model.classes) if model.classes else None
            sheet = torch.cat([sheet, model.sample(DRAWN, noise=noise_for(range(DRAWN)), labels=asked).cpu()])
        pixels = PixelRange().inverse(sheet).expand(-1, 3, -1, -1)
        write_preview(folder, samples_seen, grid(pixels, columns=8, zoom=2))

    return preview


def write_preview(folder: Path, samples_seen: int, sheet: Image.Image) -> Path:
    """A sheet under the number of pictures seen, whole or not at all."""
    return write_bytes(folder / f"{samples_seen:08d}.png", png_bytes(sheet))


def write_drawn(folder: Path, samples_seen: int, x0: Tensor, *, columns: int, classes: Sequence[str]) -> Path:
    """A sheet of new pictures, one class below each name.

    Args:
        folder: Where the sheets of a run go.
        samples_seen: Names the file.
        x0: Pictures in [−1, 1], floats (n, 1 or 3, h, w), row by row.
        columns: How many stand in a row.
        classes: What stands above the columns; none where the model has no classes.
    """
    pixels = PixelRange().inverse(x0.cpu()).expand(-1, 3, -1, -1)
    sheet = grid(pixels, columns=columns, column_labels=list(classes) or None, zoom=2)
    return write_preview(folder, samples_seen, sheet)
