"""PSNR and SSIM: how near a picture is to the one that it should be."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from melies.errors import UserError
from melies.interfaces import Metric
from melies.metrics.measure import measure
from melies.metrics.pixels import Pictures, as_signed_range, as_unit_range, picture_blocks

PSNR_MAX = 100.0
"""Decibels that the mean of a set counts for equal pictures; 8-bit pictures that differ stay below."""

_CACHED = 2**16
"""Numbers worked through at once: what a core's cache holds with its intermediate results."""

_SPAN = 64
"""Pixels of a line that one product blurs; over a longer line most of it would be zeros."""


def psnr(pictures: Pictures, reference: Pictures) -> Float[Tensor, " n"]:
    """Peak signal-to-noise ratio of each picture, 10·log₁₀(peak²/mean squared error), in dB.

    The peak is the whole range, black to white. Infinite for equal pictures.

    Raises:
        ValueError: If the shapes differ.
        UserError: If there are no pictures, or one is not finite.
    """
    errors = []
    for rows in _paired_blocks(pictures, reference):
        offset = as_signed_range(pictures[rows]) - as_signed_range(reference[rows], "reference pictures")
        errors.append(torch.linalg.vector_norm(offset.flatten(1), dim=1).double())
    size = pictures[0].numel()
    return 10 * (2**2 * size / torch.cat(errors).square()).log10()


def ssim(pictures: Pictures, reference: Pictures, *, sigma: float = 1.5) -> Float[Tensor, " n"]:
    """Structural similarity of each picture, at most 1; the mean over channels and pixels.

    The window around a pixel is Gaussian, 2·⌊3.5σ + ½⌋ + 1 pixels wide: 11 for σ = 1.5. Beyond its
    border a picture is reflected, so that all of a small one counts; the authors' own program leaves
    the border out, which moves a number by some thousandths.

    Args:
        pictures: What is judged.
        reference: What each should be.
        sigma: Standard deviation of the window, in pixels.

    Raises:
        ValueError: If the shapes differ.
        UserError: If there are no pictures, or one is not finite.

    Source: Wang et al. (2004), eq. 13–17, K₁ = 0.01, K₂ = 0.03.
    """
    reach = min(int(3.5 * sigma + 0.5), min(pictures.shape[2:]) - 1)  # as far as can be reflected
    windows = [_window(side, sigma, reach, pictures.device) for side in pictures.shape[2:]]
    found = []
    for rows in _paired_blocks(pictures, reference, most=_CACHED):
        a, b = as_unit_range(pictures[rows]), as_unit_range(reference[rows], "reference pictures")
        found.append(_ssim(a, b, windows, reach))
    return torch.cat(found)


def measure_similarity(
    pictures: Pictures, reference: Pictures, *, num_resamples: int = 1000, seed: int = 0
) -> tuple[Metric, Metric]:
    """Mean PSNR and mean SSIM over pictures, with bootstrap intervals; higher is better.

    Raises:
        ValueError: If the shapes differ.
        UserError: If there are no pictures, or one is not finite.
    """
    decibels = psnr(pictures, reference).clamp(max=PSNR_MAX).cpu()
    rest = {"higher_is_better": True, "num_resamples": num_resamples, "seed": seed}
    return (
        measure("psnr", torch.mean, decibels, unit="dB", **rest),
        measure("ssim", torch.mean, ssim(pictures, reference).cpu(), unit="", **rest),
    )


def _paired_blocks(pictures: Pictures, reference: Pictures, *, most: int | None = None) -> Iterator[slice]:
    if pictures.shape != reference.shape:
        raise ValueError(
            f"pictures are {tuple(pictures.shape)} and reference pictures are {tuple(reference.shape)}; "
            "each picture needs its counterpart"
        )
    yield from picture_blocks(pictures, most=most)


def _ssim(
    a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"], windows: list[Tensor], reach: int
) -> Float[Tensor, " n"]:
    num, channels, height, width = a.shape
    # Height first and width last, so that blurring along either is one matrix product.
    a, b = (x.permute(2, 0, 1, 3).contiguous() for x in (a, b))
    fields = torch.stack([a, b, a * a + b * b, a * b], 1)
    down = _blur(fields.reshape(height, -1), windows[0], reach)
    both = _blur(down.reshape(-1, width).T, windows[1], reach)
    mean_a, mean_b, of_squares, of_product = both.reshape(width, height, 4, num, channels).unbind(2)
    squares, product = mean_a * mean_a + mean_b * mean_b, mean_a * mean_b
    luminance = (2 * product + 0.01**2) / (squares + 0.01**2)
    structure = (2 * (of_product - product) + 0.03**2) / (of_squares - squares + 0.03**2)
    return (luminance * structure).mean((0, 1, 3))


def _blur(
    x: Float[Tensor, "size m"], window: Float[Tensor, "size size"], reach: int
) -> Float[Tensor, "size m"]:
    """Windowed means down each column, a span of rows at a time: the rest of the window is zeros."""
    spans = []
    for start in range(0, len(x), _SPAN):
        outputs = slice(start, start + _SPAN)
        inputs = slice(max(0, start - reach), start + _SPAN + reach)
        spans.append(window[outputs, inputs] @ x[inputs])
    return torch.cat(spans)


def _window(size: int, sigma: float, reach: int, device: torch.device) -> Float[Tensor, "size size"]:
    """Row i: the weights of a line's pixels in the mean around pixel i, what is beyond reflected."""
    if sigma <= 0:
        raise UserError(f"a window of sigma = {sigma} px is none", where="ssim")
    places = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (places / sigma).square())
    each = torch.eye(size, dtype=torch.float64)
    reflected = F.pad(each[None], (reach, reach), mode="reflect")[0]
    return (reflected.unfold(1, len(weights), 1) @ (weights / weights.sum())).T.to(device)
