"""Edges and solid colour of pictures for which both can be counted by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.errors import UserError
from melies.metrics.texture import FLAT, edge_contrast, flat_share


def halves(size: int = 20, dark: int = 0, bright: int = 255) -> torch.Tensor:
    picture = torch.full((1, 1, size, size), dark, dtype=torch.uint8)
    picture[..., size // 2 :] = bright
    return picture


def test_a_step_is_half_its_height_and_a_ramp_its_slope():
    # of 400 pixels the steepest 20 lie on the 40 beside the step
    assert edge_contrast(halves()).tolist() == pytest.approx([0.5])
    assert edge_contrast(halves(dark=51, bright=102)).tolist() == pytest.approx([0.1])
    ramp = (torch.arange(20) * 5).to(torch.uint8).expand(1, 3, 20, 20).contiguous()
    assert edge_contrast(ramp).tolist() == pytest.approx([5 / 255])
    assert edge_contrast(torch.full((2, 3, 8, 8), 77, dtype=torch.uint8)).tolist() == [0.0, 0.0]


def test_a_blurred_step_is_softer():
    sharp = halves().float() / 127.5 - 1
    kernel = torch.ones(1, 1, 1, 5) / 5
    soft = torch.nn.functional.conv2d(torch.nn.functional.pad(sharp, (2, 2, 0, 0), mode="replicate"), kernel)
    assert edge_contrast(soft)[0] < 0.5 * edge_contrast(sharp)[0]


def test_all_but_the_pixels_beside_a_step_are_of_solid_colour():
    assert flat_share(halves()).tolist() == pytest.approx([1 - 2 / 20])
    assert flat_share(torch.zeros(1, 3, 6, 6)).tolist() == [1.0]
    noise = torch.randint(256, (1, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert flat_share(noise).tolist() == [0.0]


def test_two_levels_are_solid_and_three_are_not():
    assert round(FLAT * 255) == 2
    assert flat_share(halves(dark=100, bright=102)).tolist() == [1.0]
    assert flat_share(halves(dark=100, bright=103)).tolist() == pytest.approx([0.9])
    colour = halves(dark=100, bright=100).expand(1, 3, 20, 20).clone()
    colour[:, 2, :, 10:] = 120  # one channel is enough
    assert flat_share(colour).tolist() == pytest.approx([0.9])


@given(shift=st.integers(0, 100), seed=st.integers(0, 99))
def test_neither_depends_on_brightness_or_on_the_batch(shift, seed):
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randint(155, (3, 1, 9, 9), dtype=torch.uint8, generator=generator)
    for measured in (edge_contrast, flat_share):
        torch.testing.assert_close(measured(pictures + shift), measured(pictures))
        torch.testing.assert_close(measured(pictures[1:2]), measured(pictures)[1:2])


def test_no_pictures_are_refused():
    with pytest.raises(UserError, match="there are no pictures"):
        edge_contrast(torch.zeros(0, 1, 4, 4))
