"""Changing pictures keeps what they show, and each change does what its name says, alone."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from melies.errors import UserError
from melies.images.augment import Augmentation, augment

STILL = Augmentation(zoom=(1.0, 1.0), shift=0, softness=0, stains=0, grain=0, contrast=0)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def x():
    """Smooth pictures, so that moving them by part of a pixel changes little."""
    coarse = torch.rand(48, 3, 4, 4, generator=seeded(6)) * 1.6 - 0.8
    return F.interpolate(coarse, (16, 16), mode="bilinear")


def test_it_is_a_function_of_the_generator_and_keeps_shape_range_and_colour(x):
    first, again, other = (augment(x, seeded(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == x.shape
    assert first.abs().max() <= 1
    assert (first.mean((0, 2, 3)) - x.mean((0, 2, 3))).abs().max() < 0.05
    blank = augment(torch.ones(16, 3, 32, 32), seeded(9))
    assert blank.mean() > 0.9  # what lies beyond the edge is what the edge shows
    assert augment(x[:1, :1, :14, :15], seeded(0)).shape == (1, 1, 14, 15)
    assert augment(x[:, :1, :8, :8], seeded(0)).shape == (48, 1, 8, 8)


def test_nothing_asked_for_changes_nothing(x):
    torch.testing.assert_close(augment(x, seeded(0), STILL), x, atol=1e-5, rtol=0)


def test_mirrored_pictures_are_as_many_as_asked_for(x):
    for share in (0.0, 0.5, 1.0):
        found = augment(x, seeded(1), replace(STILL, mirrored=share))
        turned = (found - x.flip(-1)).abs().flatten(1).amax(1) < 1e-4
        kept = (found - x).abs().flatten(1).amax(1) < 1e-4
        assert (turned ^ kept).all()
        assert turned.float().mean() == pytest.approx(share, abs=0.3)  # four standard deviations of 48 draws


def test_a_shift_moves_and_a_zoom_shows_less():
    ramp = torch.linspace(-0.75, 0.75, 16).expand(64, 1, 16, 16)
    moved = augment(ramp, seeded(2), replace(STILL, shift=0.25))
    inside = moved[..., 4:12]
    slope = inside.diff(dim=-1)
    torch.testing.assert_close(slope, torch.full_like(slope, 0.1), atol=1e-4, rtol=0)
    offsets = (moved - ramp)[..., 8, 8] / 0.1 / 8  # pixels, then halves of the side
    assert offsets.abs().max() <= 0.25 + 1e-4
    assert offsets.min() < -0.15 < 0.15 < offsets.max()
    near = augment(ramp, seeded(2), replace(STILL, zoom=(0.5, 0.5)))[..., 4:12].diff(dim=-1)
    torch.testing.assert_close(near, torch.full_like(near, 0.05), atol=1e-4, rtol=0)


def test_softness_takes_fineness_away_and_grain_adds_it():
    noise = torch.rand(64, 1, 16, 16, generator=seeded(3)) - 0.5

    def fineness(pictures):
        return (pictures - F.avg_pool2d(pictures, 3, 1, 1)).square().mean((1, 2, 3))

    soft = fineness(augment(noise, seeded(4), replace(STILL, softness=1.0, coarse=(4, 4))))
    sharp = fineness(noise)
    assert (soft <= sharp * 1.001).all()
    assert (soft < 0.2 * sharp).any()
    assert 0.1 < (soft > 0.999 * sharp).float().mean() < 0.45  # a quarter stays as it is
    for name in ("grain", "stains"):
        flat = augment(torch.zeros(64, 1, 16, 16), seeded(5), replace(STILL, **{name: 0.5}))
        assert 0 < flat.square().mean((1, 2, 3)).sqrt().max() < 0.7
    blocks = augment(torch.zeros(4, 1, 16, 16), seeded(5), replace(STILL, stains=0.5))
    torch.testing.assert_close(F.interpolate(blocks[..., ::8, ::8], (16, 16), mode="nearest"), blocks)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"zoom": (1.1, 0.9)}, "not in order"),
        ({"zoom": (0.0, 1.0)}, "zoom"),
        ({"shift": -0.1}, "shift"),
        ({"mirrored": 1.5}, "mirrored"),
        ({"coarse": (0, 2)}, "coarse"),
        ({"contrast": 1.0}, "contrast"),
    ],
)
def test_what_cannot_be(fields, said):
    with pytest.raises(UserError, match=said):
        Augmentation(**fields)
