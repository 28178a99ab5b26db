"""The convolutional halves of autoencoders: pictures down to a few cells, and cells up to pictures.

Space is folded into channels and back (Shi et al. 2016, "Efficient sub-pixel CNN"), so that nothing is
computed at full size, which is where the time of small networks goes.
"""

from collections.abc import Sequence

from torch import nn

from melies.errors import UserError
from melies.nn.residual import Residual


def check_widths(widths: Sequence[int], *, where: str) -> None:
    """Widths are what group norms need: at least one, each a multiple of 8.

    Raises:
        UserError: If they are not.
    """
    if not widths:
        raise UserError("at least one width is needed", where=where)
    for width in widths:
        if width < 8 or width % 8:
            raise UserError(f"width {width} is not a multiple of 8", where=where)


def cell_size(size: int, widths: Sequence[int], *, where: str) -> int:
    """Height of the smallest cells of pictures of height `size`.

    Raises:
        UserError: If the size cannot be halved once for each width.
    """
    if size < 1 or size % 2 ** len(widths):
        raise UserError(
            f"size {size} cannot be halved {len(widths)} times",
            where=where,
            remedy="give fewer widths, or another size",
        )
    return size // 2 ** len(widths)


def down(channels: int, widths: Sequence[int], *, blocks: int) -> list[nn.Module]:
    """Layers from (b, channels, h, w) to (b, widths[-1], h/2^n, w/2^n), n = the number of widths."""
    layers: list[nn.Module] = []
    for i, width in enumerate(widths):
        before = channels if i == 0 else widths[i - 1]
        layers += [
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * before, width, 3 if i == 0 else 1, padding=int(i == 0)),
        ]
        layers += [Residual(width) for _ in range(blocks)]
    return layers


def up(channels: int, widths: Sequence[int], *, blocks: int) -> list[nn.Module]:
    """Layers from (b, widths[-1], h, w) to (b, channels, h·2^n, w·2^n), n = the number of widths."""
    layers: list[nn.Module] = []
    for i, width in reversed(list(enumerate(widths))):
        layers += [Residual(width) for _ in range(blocks)]
        after = channels if i == 0 else widths[i - 1]
        layers += [
            nn.Conv2d(width, 4 * after, 3 if i == 0 else 1, padding=int(i == 0)),
            nn.PixelShuffle(2),
        ]
    return layers
