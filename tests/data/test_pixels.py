"""Pictures to squares of bytes: transparency, resizing and the odd formats."""

import io

import numpy as np
import pytest
from PIL import Image

from melies.data import pixels
from melies.data.pixels import to_square
from melies.errors import UserError


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def decode(data, **options):
    return pixels.decode(data, **options).square


def test_same_size_is_kept_byte_for_byte():
    values = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        decode(encoded(Image.fromarray(values)), size=16), values.transpose(2, 0, 1)
    )


def test_transparency_is_laid_on_the_background():
    picture = Image.new("RGBA", (8, 8), (255, 0, 0, 51))  # alpha 0.2
    red, green, blue = decode(encoded(picture), size=8, background=(255, 255, 0))[:, 0, 0]
    assert (red, green, blue) == (255, 204, 0)


def test_hidden_colours_of_transparent_pixels_do_not_bleed():
    values = np.zeros((64, 64, 4), np.uint8)
    values[:, :32] = (0, 0, 0, 255)
    values[:, 32:] = (255, 0, 0, 0)  # red that nobody should see
    red, green, blue = decode(encoded(Image.fromarray(values)), size=8).astype(int)
    np.testing.assert_array_equal(red, green)
    np.testing.assert_array_equal(red, blue)


@pytest.mark.parametrize("side", [9, 31, 200])
def test_resizing_keeps_a_flat_colour(side):
    square = decode(encoded(Image.new("RGB", (side, side), (10, 128, 250))), size=16)
    np.testing.assert_array_equal(
        square, np.broadcast_to(np.array([10, 128, 250])[:, None, None], (3, 16, 16))
    )


def test_shrinking_averages_the_area():
    board = (np.indices((128, 128)).sum(0) % 2 * 255).astype(np.uint8)
    square = decode(encoded(Image.fromarray(board)), size=8, channels=1).astype(int)
    assert np.abs(square - 127.5).max() <= 3  # picking pixels would give 0 and 255


def test_crop_cuts_the_longer_side_equally_at_both_ends():
    values = np.zeros((8, 32), np.uint8)
    values[:, 12:20] = 200
    assert (decode(encoded(Image.fromarray(values)), size=8, channels=1) == 200).all()


def test_pad_shows_everything_on_the_background():
    square = decode(encoded(Image.new("RGB", (32, 16), (0, 0, 0))), size=16, fit="pad")
    assert (square[:, :4] == 255).all()
    assert (square[:, 4:12] == 0).all()
    assert (square[:, 12:] == 255).all()


def test_the_cameras_orientation_is_applied():
    values = np.zeros((8, 8, 3), np.uint8)
    values[0] = 255
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down
    square = decode(encoded(Image.fromarray(values), exif=turned.tobytes()), size=8)
    assert (square[:, -1] == 255).all()
    assert (square[:, :-1] == 0).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb_and_grey(mode):
    if mode == "I;16":
        picture = Image.fromarray(np.full((8, 8), 65535, np.uint16))
    else:
        picture = Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode)
    data = encoded(picture, "TIFF" if mode == "CMYK" else "PNG")
    assert decode(data, size=8).shape == (3, 8, 8)
    np.testing.assert_array_equal(decode(data, size=8, channels=1), np.full((1, 8, 8), 255))


def test_sixteen_bits_are_scaled_not_cut():
    data = encoded(Image.fromarray(np.full((8, 8), 128 * 257, np.uint16)))
    np.testing.assert_array_equal(decode(data, size=8, channels=1), np.full((1, 8, 8), 128))


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    square = decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), size=8)
    assert tuple(square[:, 0, 0]) == (255, 0, 0)


def test_an_open_picture_takes_the_same_way():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8))
    expected = decode(encoded(picture), size=8).transpose(1, 2, 0)
    np.testing.assert_array_equal(np.asarray(to_square(picture, size=8)), expected)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_a_picture_cut_short_is_refused(kind, share):
    values = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(values), kind)
    with pytest.raises(UserError, match=r"holiday\.png: cannot be read as a picture"):
        decode(data[: int(len(data) * share)], size=8, where="holiday.png")


def test_no_picture_at_all_is_refused():
    with pytest.raises(UserError, match="not a picture"):
        decode(b"hello", size=8)


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    data = encoded(Image.new("1", (10_000, 10_000)))  # 100 MB of pixels in a few kB
    with pytest.raises(UserError, match="one picture may have"):
        decode(data, size=8)


@pytest.mark.parametrize(("size", "channels"), [(0, 3), (4, 3), (5000, 3), (64, 2), (64, 4)])
def test_unsupported_sizes_and_channels_are_refused(size, channels):
    with pytest.raises(UserError, match="not supported"):
        pixels.check_size(size, channels)
