"""Ways between latents: ends, lengths and angles, which are known exactly."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.errors import UserError
from melies.images.mix import linear, mixed, spherical

SHARES = st.floats(0, 1)


def test_a_quarter_of_a_right_angle_is_that_quarter():
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    angle = math.pi / 8
    expected = torch.tensor([[2 * math.cos(angle), 2 * math.sin(angle)]])
    torch.testing.assert_close(spherical(a, b, 0.25), expected)
    torch.testing.assert_close(linear(a, b, 0.25), torch.tensor([[1.5, 0.5]]))


@given(share=SHARES, seed=st.integers(0, 99))
def test_latents_of_one_length_keep_it(share, seed):
    a, b = torch.randn(2, 3, 4, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    a, b = (x.flatten(1) / x.flatten(1).norm(dim=1, keepdim=True) for x in (a, b))
    lengths = spherical(a, b, share).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(3, dtype=torch.float64))


@given(share=SHARES)
def test_vectors_without_one_circle_between_them_are_mixed_linearly(share):
    a = torch.tensor([[1.0, 2.0], [0.0, 0.0], [1.0, -1.0]])
    b = torch.tensor([[2.0, 4.0], [3.0, 1.0], [-1.0, 1.0]])
    torch.testing.assert_close(spherical(a, b, share), linear(a, b, share))


def test_noise_halfway_keeps_its_scale_on_the_sphere_and_loses_it_on_the_straight_way():
    a, b = torch.randn(2, 1, 20_000, generator=torch.Generator().manual_seed(0))
    assert float(spherical(a, b, 0.5).std()) == pytest.approx(1, abs=0.02)
    assert float(linear(a, b, 0.5).std()) == pytest.approx(math.sqrt(0.5), abs=0.02)


@pytest.mark.parametrize("mixing", ["linear", "spherical"])
def test_the_way_begins_and_ends_with_what_it_joins(mixing):
    a, b = torch.randn(2, 3, 1, 4, 4)
    way = mixed(a, b, num=5, mixing=mixing)
    assert way.shape == (3, 5, 1, 4, 4)
    torch.testing.assert_close(way[:, 0], a)
    torch.testing.assert_close(way[:, -1], b)


def test_what_cannot_be_mixed_is_said():
    a = torch.zeros(1, 2)
    with pytest.raises(UserError, match="did you mean 'linear'"):
        mixed(a, a, num=3, mixing="linar")
    with pytest.raises(UserError, match="ask for 2"):
        mixed(a, a, num=1, mixing="linear")
