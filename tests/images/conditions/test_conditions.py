"""Every kind of hint, by one table; those of lines, by what is known of drawn pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from melies.errors import UserError
from melies.images.conditions import CONDITIONS, extract, open_extractor
from melies.images.conditions.hough import lines
from melies.images.conditions.scribble import STEADY, scribble, strokes
from melies.images.conditions.softedge import contrast

FREE = [name for name, kind in CONDITIONS.items() if not kind.weights and name != "stereo"]
"""Kinds that need no weights and give hints of the picture's own size."""


@pytest.mark.parametrize("kind", FREE)
@pytest.mark.parametrize(("n", "c", "h", "w"), [(2, 3, 40, 56), (1, 4, 16, 16), (0, 3, 16, 16)])
def test_hints_have_the_size_of_the_picture_and_the_channels_of_the_kind(kind, n, c, h, w):
    pixels = torch.randint(0, 256, (n, c, h, w), dtype=torch.uint8)
    before = pixels.clone()
    hint = extract(kind, pixels)
    assert hint.shape == (n, CONDITIONS[kind].channels, h, w)
    assert hint.dtype == torch.uint8
    assert hint.is_contiguous()
    torch.testing.assert_close(hint, extract(kind, pixels), rtol=0, atol=0)  # no hidden chance
    torch.testing.assert_close(pixels, before, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [name for name in FREE if name not in ("scribble",)])
def test_a_hint_does_not_depend_on_what_else_is_in_the_batch(kind):
    pixels = torch.randint(0, 256, (3, 3, 24, 24), dtype=torch.uint8)
    torch.testing.assert_close(extract(kind, pixels)[1:2], extract(kind, pixels[1:2]), rtol=0, atol=0)


@pytest.mark.parametrize(
    "kind", [name for name, kind in CONDITIONS.items() if kind.lines and not kind.weights]
)
def test_nothing_is_drawn_where_a_picture_is_flat(kind):
    flat = torch.full((1, 3, 64, 64), 137, dtype=torch.uint8)
    assert not extract(kind, flat).any()


@pytest.mark.parametrize(
    "kind", [name for name, kind in CONDITIONS.items() if kind.lines and not kind.weights]
)
def test_lines_lie_on_the_edge_of_a_square(kind, square):
    hint = extract(kind, square)[0, 0].numpy()
    rows, columns = np.nonzero(hint > 60)
    assert len(rows) >= 15
    # distance from the outline of the square, whose edge is between pixels 27 | 28 and 67 | 68
    far = np.maximum(np.abs(rows - 47.5), np.abs(columns - 47.5)) - 20
    assert np.abs(far).max() <= 5
    assert np.median(np.abs(far)) <= 2


def test_canny_is_that_of_opencv(square):
    noisy = (square.int() + torch.randint(-30, 31, square.shape)).clamp(0, 255).to(torch.uint8)
    plain = cv2.Canny(noisy[0].permute(1, 2, 0).contiguous().numpy(), 100, 200)
    assert 0 < plain.mean() < 128
    np.testing.assert_array_equal(extract("canny", noisy)[0, 0].numpy(), plain)


def test_hough_finds_the_ends_of_lines_that_were_drawn():
    picture = np.full((256, 256, 3), 255, np.uint8)
    drawn = [(30, 40, 200, 40), (60, 80, 220, 200)]
    for x1, y1, x2, y2 in drawn:
        cv2.line(picture, (x1, y1), (x2, y2), (0, 0, 0), 5)
    found = lines(picture)
    assert len(found) >= 4  # both edges of both
    for x1, y1, x2, y2 in drawn:
        ends = [min(np.hypot(a - x1, b - y1) + np.hypot(c - x2, d - y2) for a, b, c, d in found)]
        assert min(ends) < 12


def test_contrast_of_a_straight_step_is_its_height():
    for height in (40, 160):
        picture = np.zeros((512, 512, 3), np.uint8)
        picture[:, 256:, 1] = height
        edge = contrast(picture)[128:384, 250:262].max(axis=1)
        np.testing.assert_allclose(edge, height, rtol=0.03)  # sampled between two pixels
        assert contrast(picture)[:, :200].max() < 1e-3


def test_scribbles_vary_with_the_seed_and_with_nothing_else(square):
    both = square.expand(2, -1, -1, -1)
    first, second = (extract("scribble", both, seed=seed) for seed in (0, 1))
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])  # a drawing of its own for each picture of a batch
    torch.testing.assert_close(first[:1], extract("scribble", square, seed=0), rtol=0, atol=0)
    steady = scribble(square, seed=0, hand=STEADY)
    torch.testing.assert_close(steady, scribble(square, seed=5, hand=STEADY), rtol=0, atol=0)
    overlap = (first[0] > 0) & (steady[0] > 0)
    assert overlap.sum() > 0.4 * (first[0] > 0).sum()  # still the same square


def test_a_stroke_has_the_width_of_its_blur_and_moves_as_it_is_told():
    line = np.zeros((64, 64), np.uint8)
    line[32] = 255
    wide = strokes(line, 3.0)
    # where 255 exp(−r²/2σ²) / (σ√2π) falls to 4
    reach = np.floor(3 * np.sqrt(2 * np.log(255 / (3 * np.sqrt(2 * np.pi) * 4))))
    assert set(np.nonzero(wide[:, 32])[0]) == set(range(32 - int(reach), 33 + int(reach)))
    np.testing.assert_array_equal(strokes(line, 3.0, down=5.0)[10:50], wide[15:55])


def test_a_line_drawing_has_its_median_line_at_half():
    picture = np.full((512, 512, 3), 200, np.uint8)
    for x in range(40, 500, 60):
        cv2.line(picture, (x, 0), (x, 511), (90, 90, 90), 2)
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None]
    hint = extract("lineart", pixels)[0, 0].numpy()
    assert 100 <= np.median(hint[hint > 20]) <= 150
    assert hint[:, 10].max() <= 20  # no line there


def test_the_mask_of_a_picture_with_transparency_is_its_transparency(square):
    alpha = torch.zeros(1, 1, 96, 96, dtype=torch.uint8)
    alpha[..., 10:20, 30:50] = 200
    found = extract("mask", torch.cat([square, alpha], 1))
    torch.testing.assert_close(found, torch.where(alpha > 0, 255, 0).to(torch.uint8))


def test_the_mask_is_what_differs_from_the_border_and_has_no_holes_of_its_colour(square):
    square[:, :, 40:50, 40:50] = 255  # white inside, as the white of an eye
    expected = torch.zeros(1, 1, 96, 96, dtype=torch.uint8)
    expected[..., 28:68, 28:68] = 255
    torch.testing.assert_close(extract("mask", square), expected)


def test_areas_of_one_colour_become_their_mean(square):
    noise = torch.randint(-4, 5, square.shape, generator=torch.Generator().manual_seed(3))
    noisy = (square.int() + noise).clamp(0, 255).to(torch.uint8)
    found = extract("clusters", noisy)
    inside = found[0, :, 40:56, 40:56].reshape(3, -1).float().mean(1)
    torch.testing.assert_close(inside, torch.tensor([20.0, 40.0, 120.0]), atol=3, rtol=0)
    assert len(np.unique(found[0].reshape(3, -1).numpy().T, axis=0)) <= 8
    torch.testing.assert_close(extract("clusters", square), square)  # two colours stay two colours


@given(st.integers(0, 250), st.integers(1, 255))
@settings(max_examples=10)
def test_infrared_is_stretched_from_coldest_to_warmest(low, span):
    high = min(255, low + span)
    ramp = torch.linspace(low, high, 64).round().to(torch.uint8)
    pixels = ramp.expand(1, 3, 8, 64)
    for kind in ("thermal", "infrared-luminance"):
        hint = extract(kind, pixels)[0, 0]
        assert (int(hint.min()), int(hint.max())) == (0, 255)
        assert bool((hint[0].int().diff() >= 0).all())


def test_the_nearest_kind_is_named_and_so_is_what_lacks():
    pixels = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    with pytest.raises(UserError, match="did you mean 'canny'"):
        extract("cany", pixels)
    with pytest.raises(UserError, match="canny has no weights"):
        open_extractor("canny", weights=Path(__file__))
    for name, kind in CONDITIONS.items():
        if kind.weights:
            with pytest.raises(UserError) as caught:
                open_extractor(name)
            assert kind.weights in str(caught.value)
            assert "--weights" in str(caught.value)


def test_kinds_that_are_unverified_say_so():
    for name, kind in CONDITIONS.items():
        if kind.weights and name != "pose":  # the files of BlazePose can be had
            assert "unverified against public weights" in kind.what
