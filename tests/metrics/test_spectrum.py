"""Spectra of what is known: waves, noise and blur."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from melies.errors import UserError
from melies.metrics import spectrum
from melies.metrics.spectrum import HIGH, high_power, measure_sharpness, power_ratio, radial_spectrum


def wave(cycles_down: int, cycles_across: int, size: int = 16) -> torch.Tensor:
    """A cosine of amplitude 2, so of variance 2."""
    place = torch.arange(size, dtype=torch.float64) / size
    phase = 2 * math.pi * (cycles_down * place[:, None] + cycles_across * place)
    return 2 * phase.cos()[None, None]


@pytest.mark.parametrize(("down", "across", "ring"), [(0, 1, 1), (3, 0, 3), (3, 4, 5), (2, 2, 3), (7, 7, 8)])
def test_a_wave_is_in_the_ring_of_its_frequency(down, across, ring):
    frequencies, power = radial_spectrum(wave(down, across))
    assert int(power[0].argmax()) == ring
    assert float(frequencies[ring]) == pytest.approx(ring / 16)
    others = torch.arange(power.shape[1]) != ring
    assert float(power[0][others].max()) < 1e-20


@given(seed=st.integers(0, 50), channels=st.sampled_from([1, 3]), size=st.sampled_from([7, 8]))
def test_power_sums_to_the_variance(seed, channels, size):
    x = torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(seed))
    variance = x.double().var((2, 3), unbiased=False).mean(1)
    torch.testing.assert_close(high_power(x, least=0.0), variance)


def test_high_is_what_lies_above_the_limit():
    assert float(high_power(wave(0, 3))[0]) == pytest.approx(0, abs=1e-20)
    assert float(high_power(wave(0, 4))[0]) == pytest.approx(2)  # 4/16 is the limit itself
    assert HIGH == 4 / 16


def test_noise_is_flat_and_blur_takes_its_high_frequencies():
    noise = torch.randn(400, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    flat = radial_spectrum(noise).power[:, 1:].mean(0)
    assert float(flat.max() / flat.min()) < 1.2
    blurred = F.avg_pool2d(F.pad(noise, (1, 1, 1, 1), mode="circular"), 3, stride=1)
    # A box of three has the response (1 + 2·cos 2πf)/3 along each axis.
    along = (1 + 2 * (2 * math.pi * torch.fft.fftfreq(16, dtype=torch.float64)).cos()) / 3
    frequency = torch.hypot(*torch.meshgrid(*[torch.fft.fftfreq(16, dtype=torch.float64)] * 2, indexing="ij"))
    kept = (along[:, None] * along).square()
    expected = float(kept[frequency >= HIGH].mean())
    assert power_ratio(high_power(blurred), high_power(noise)) == pytest.approx(expected, rel=0.05)


def test_bytes_and_long_sets_are_taken_as_they_are():
    x = torch.randint(0, 256, (1100, 1, 8, 8), dtype=torch.uint8)
    found = radial_spectrum(x)
    assert found.power.shape == (1100, 5)
    torch.testing.assert_close(found.power[1050], radial_spectrum(x[1050:1051].double()).power[0])


def test_what_has_no_spectrum_is_refused():
    with pytest.raises(UserError, match="no pictures"):
        radial_spectrum(torch.zeros(0, 1, 8, 8))
    with pytest.raises(UserError, match="not square"):
        high_power(torch.zeros(1, 1, 8, 9))


def test_blur_lies_below_the_floor_and_sharp_pictures_do_not():
    noise = torch.randn(300, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    drawn, real = noise[:100], high_power(noise[100:])
    blurred = F.avg_pool2d(F.pad(drawn, (1, 1, 1, 1), mode="circular"), 3, stride=1)
    found, floor = measure_sharpness(high_power(drawn), real)
    assert floor.interval[0] < 1 < floor.interval[1]
    assert found.interval[0] < floor.interval[1]
    assert found.interval[1] > floor.interval[0]
    assert measure_sharpness(high_power(blurred), real)[0].interval[1] < floor.interval[0]
    with pytest.raises(UserError, match="no detail"):
        measure_sharpness(real, real * 0)


def test_blocks_of_pictures_change_nothing(monkeypatch):
    x = torch.randn(7, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = radial_spectrum(x).power
    monkeypatch.setattr(spectrum, "_BLOCK", 3)
    assert torch.equal(radial_spectrum(x).power, whole)
