import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.errors import UserError
from melies.metrics import similarity as module
from melies.metrics.similarity import PSNR_MAX, measure_similarity, psnr, ssim


def pair(seed=0, shape=(3, 2, 16, 20), noise=0.2):
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    b = (a + noise * torch.randn(shape, generator=generator, dtype=torch.float64)).clamp(-1, 1)
    return a, b


def test_psnr_by_hand():
    """One of four bytes is off by 51, a fifth of the range: mean squared error 0.01."""
    a = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    b = a.clone()
    b[0, 0, 0, 1] = 51
    assert float(psnr(a, b)[0]) == pytest.approx(20)
    assert float(psnr(a, a)[0]) == math.inf
    assert (
        float(psnr(torch.full((1, 1, 2, 2), -1.0), torch.full((1, 1, 2, 2), 5.0))[0]) == 0
    )  # shown as white


def test_ssim_of_flat_pictures_is_their_luminance():
    """Without structure: (2ab + C₁)/(a² + b² + C₁)."""
    a, b = torch.full((1, 3, 12, 12), 0.2), torch.full((1, 3, 12, 12), -0.6)
    x, y = 0.6, 0.2
    expected = (2 * x * y + 1e-4) / (x**2 + y**2 + 1e-4)
    assert float(ssim(a, b)[0]) == pytest.approx(expected, rel=1e-6)


def test_ssim_of_an_inverted_checkerboard_by_hand():
    """Fields m ± s, against 1 − x; reflected, a board goes on for ever.

    Under the window its mean is m ± s·c, c the window's answer to a board, its variance s²(1 − c²).
    """
    m, s = 0.4, 0.3
    sign = (-1.0) ** (torch.arange(8)[:, None] + torch.arange(8))
    x = (m + s * sign.double())[None, None]
    place = torch.arange(-5.0, 6.0, dtype=torch.float64)
    window = torch.exp(-0.5 * (place / 1.5) ** 2) / torch.exp(-0.5 * (place / 1.5) ** 2).sum()
    c = float((window * (-1.0) ** place).sum()) ** 2
    v = s**2 * (1 - c**2)
    expected = 0.0
    for mean in (m + s * c, m - s * c):
        luminance = (2 * mean * (1 - mean) + 1e-4) / (mean**2 + (1 - mean) ** 2 + 1e-4)
        expected += luminance * (9e-4 - 2 * v) / (9e-4 + 2 * v) / 2
    assert float(ssim(2 * x - 1, 1 - 2 * x)[0]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["float", "bytes"])
def test_agrees_with_torchmetrics(kind):
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    a, b = pair()
    if kind == "bytes":
        a, b = (((x + 1) * 127.5).round().to(torch.uint8) for x in (a, b))
        x, y = a.double() / 255, b.double() / 255
    else:
        x, y = (a + 1) / 2, (b + 1) / 2
    expected = structural_similarity_index_measure(x, y, data_range=1.0, reduction="none")
    torch.testing.assert_close(ssim(a, b), expected, rtol=1e-9, atol=0)
    expected = peak_signal_noise_ratio(x, y, data_range=1.0, reduction="none", dim=(1, 2, 3))
    torch.testing.assert_close(psnr(a, b), expected, rtol=1e-6, atol=0)  # their logarithm is in float32


@pytest.mark.parity
def test_a_narrower_window_agrees_too():
    from torchmetrics.functional.image import structural_similarity_index_measure

    a, b = pair(shape=(2, 1, 9, 8))
    expected = structural_similarity_index_measure(
        (a + 1) / 2, (b + 1) / 2, sigma=0.75, data_range=1.0, reduction="none"
    )
    torch.testing.assert_close(ssim(a, b, sigma=0.75), expected, rtol=1e-9, atol=0)


@given(st.integers(0, 1000))
def test_symmetric_at_most_one_and_falling_with_noise(seed):
    a, b = pair(seed)
    found = ssim(a, b)
    torch.testing.assert_close(ssim(b, a), found)
    torch.testing.assert_close(ssim(a.flip(3), b.flip(3)), found)
    assert (found < 1).all()
    torch.testing.assert_close(ssim(a, a), torch.ones(3, dtype=torch.float64))
    worse = pair(seed, noise=0.8)
    assert (ssim(*worse) < found).all()
    assert (psnr(*worse) < psnr(a, b)).all()


def test_small_pictures_and_small_blocks(monkeypatch):
    a, b = pair(shape=(5, 1, 8, 8))
    whole = ssim(a, b)
    assert whole.isfinite().all()
    monkeypatch.setattr(module, "_CACHED", 1)
    torch.testing.assert_close(ssim(a, b), whole)
    torch.testing.assert_close(psnr(a, b)[[2, 0]], psnr(a[[2, 0]], b[[2, 0]]))
    assert ssim(a[..., :2, :2], b[..., :2, :2]).isfinite().all()


@pytest.mark.parametrize("span", [1, 7, 16])
def test_the_span_of_a_product_changes_nothing(span, monkeypatch):
    a, b = pair(shape=(2, 3, 40, 17))
    whole = ssim(a, b)
    monkeypatch.setattr(module, "_SPAN", span)
    torch.testing.assert_close(ssim(a, b), whole)


def test_floats_beyond_the_scale_count_as_its_ends_in_every_precision():
    a, b = pair()
    far = torch.where(a > 0.9, 3.0, a)
    torch.testing.assert_close(psnr(far, b), psnr(a.where(a <= 0.9, 1.0), b))
    torch.testing.assert_close(ssim(far, b), ssim(a.where(a <= 0.9, 1.0), b))
    torch.testing.assert_close(psnr(a.float(), b.float()), psnr(a, b), rtol=1e-6, atol=0)
    with pytest.raises(UserError, match="not finite"):
        psnr(a / 0, b)


def test_records():
    a, b = pair(shape=(40, 1, 8, 8))
    b[0] = a[0]
    decibels, similarity = measure_similarity(a, b)
    assert decibels.value == pytest.approx(float(psnr(a, b).clamp(max=PSNR_MAX).mean()))
    assert similarity.value == pytest.approx(float(ssim(a, b).mean()))
    for found in (decibels, similarity):
        assert found.interval[0] < found.value < found.interval[1]
        assert found.num_samples == 40


def test_what_does_not_compare_is_refused():
    a, _ = pair()
    with pytest.raises(ValueError, match="counterpart"):
        ssim(a, a[:2])
    with pytest.raises(UserError, match="no pictures"):
        psnr(a[:0], a[:0])
    with pytest.raises(UserError, match="not finite"):
        ssim(a, a / 0)
    with pytest.raises(UserError, match="sigma"):
        ssim(a, a, sigma=0.0)
