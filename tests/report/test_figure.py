import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from melies.errors import UserError
from melies.report.figure import as_pictures, grid, neighbours_figure

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def plain(*colours, size=8):
    return [Image.new("RGB", (size, size), colour) for colour in colours]


def ink(image, box=None):
    """Whether each pixel differs from white."""
    return (np.asarray(image.crop(box) if box else image) != 255).any(axis=2)


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 5), st.integers(1, 3), st.integers(1, 6))
def test_every_picture_is_where_it_belongs(num, columns, pad, zoom, height):
    images = torch.randint(0, 256, (num, 3, height, 4), dtype=torch.uint8)
    sheet = np.asarray(grid(images, columns, pad=pad, zoom=zoom))
    rows = -(-num // columns)
    assert sheet.shape == (pad + rows * (height * zoom + pad), pad + columns * (4 * zoom + pad), 3)
    seen = np.zeros(sheet.shape[:2], dtype=bool)
    for i, image in enumerate(images.numpy()):
        top = pad + (i // columns) * (height * zoom + pad)
        left = pad + (i % columns) * (4 * zoom + pad)
        place = np.s_[top : top + height * zoom, left : left + 4 * zoom]
        enlarged = image.repeat(zoom, axis=1).repeat(zoom, axis=2).transpose(1, 2, 0)
        assert (sheet[place] == enlarged).all()
        seen[place] = True
    assert (sheet[~seen] == 255).all()


def test_arrays_tensors_and_pictures_show_the_same():
    images = torch.randint(0, 256, (4, 3, 5, 6), dtype=torch.uint8)
    expected = grid(images)
    assert expected.size == (3 * 4 + 2 * 6, 3 * 4 + 2 * 5)  # about square: two columns
    assert grid(images.numpy()).tobytes() == expected.tobytes()
    assert grid(list(as_pictures(images))).tobytes() == expected.tobytes()


def test_grey_pictures_are_shown_grey():
    images = torch.randint(0, 256, (2, 1, 5, 6), dtype=torch.uint8)
    assert grid(images).tobytes() == grid(images.expand(2, 3, 5, 6)).tobytes()


def test_see_through_pictures_lie_on_the_background():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    half = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    palette = Image.new("RGBA", (4, 4), (0, 255, 0, 255)).convert("P")
    sheet = grid([clear, half, palette], 3, pad=0, background="white")
    assert sheet.getpixel((1, 1)) == (255, 255, 255)
    assert sheet.getpixel((5, 1)) == pytest.approx((255, 127, 127), abs=1)
    assert sheet.getpixel((9, 1)) == GREEN
    assert grid([clear], 1, background="navy").getpixel((5, 5)) == (0, 0, 128)


def test_smaller_pictures_stand_in_the_middle_of_their_cell():
    sheet = grid([*plain(RED, size=8), *plain(BLUE, size=4)], 2, pad=0)
    assert sheet.getpixel((8 + 2, 2)) == sheet.getpixel((8 + 5, 5)) == BLUE
    assert sheet.getpixel((8 + 1, 1)) == sheet.getpixel((8 + 6, 6)) == (255, 255, 255)


def test_captions_stay_under_their_own_picture():
    """Whatever is written, ink is only within the columns of the cell."""
    texts = ["a very long caption " * 20, "", "Donaudampfschifffahrtsgesellschaftskapitän"]
    sheet = grid(plain(RED, GREEN, BLUE, size=64), 3, captions=texts, pad=4)
    for number, written in enumerate((True, False, True)):
        left = 4 + number * 68
        assert ink(sheet, (left, 68, left + 64, sheet.height)).any() == written
        assert not ink(sheet, (left - 4, 68, left, sheet.height)).any()
    assert sheet.height <= 64 + 8 + 3 * 15  # three lines of 11 px letters at most


def test_labels_stand_beside_their_rows_and_above_their_columns():
    base = grid(plain(RED, GREEN, BLUE, RED, size=64), 2)
    sheet = grid(
        plain(RED, GREEN, BLUE, RED, size=64), 2, row_labels=["one", ""], column_labels=["", "heun"], pad=4
    )
    left, top = sheet.width - base.width, sheet.height - base.height
    assert left > 0
    assert top > 0
    assert sheet.crop((left, top, *sheet.size)).tobytes() == base.tobytes()
    assert ink(sheet, (0, top, left, top + 68)).any()
    assert not ink(sheet, (0, top + 68, left, sheet.height)).any()
    assert not ink(sheet, (left, 0, left + 68, top)).any()
    assert ink(sheet, (left + 68, 0, sheet.width, top)).any()


def test_letters_are_light_on_a_dark_ground():
    sheet = np.asarray(grid(plain("black", size=64), 1, captions=["words"], background="black"))
    assert sheet.max() > 200


def test_neighbours_stand_to_the_right_of_a_gap():
    near = [plain(GREEN, BLUE, size=32), plain(BLUE, GREEN, size=32)]
    sheet = np.asarray(neighbours_figure(plain(RED, RED, size=32), near, pad=2))
    row = next(row for row in sheet if (row == RED).all(axis=1).any())
    colours = [tuple(pixel) for pixel in row.tolist()]
    runs = [colour for i, colour in enumerate(colours) if i == 0 or colour != colours[i - 1]]
    white = (255, 255, 255)
    assert runs == [white, RED, white, GREEN, white, BLUE, white]
    red_to_green = colours.index(GREEN) - (len(colours) - 1 - colours[::-1].index(RED)) - 1
    green_to_blue = colours.index(BLUE) - (len(colours) - 1 - colours[::-1].index(GREEN)) - 1
    assert red_to_green > 3 * green_to_blue > 0


def test_an_odd_number_of_samples_leaves_the_last_place_empty():
    near = [plain(GREEN, size=32)] * 3
    sheet = neighbours_figure(
        plain(RED, RED, RED, size=32), near, distances=[[0.5]] * 3, captions=["a", "b", "c"], across=2, pad=2
    )
    colours = np.asarray(sheet)
    assert (colours == RED).all(axis=2).sum() == (colours == GREEN).all(axis=2).sum() == 3 * 32 * 32
    assert not ink(sheet, (sheet.width // 2 + 8, sheet.height - 40, *sheet.size)).any()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="at least one picture"):
        grid([])
    with pytest.raises(ValueError, match="1 captions for 2"):
        grid(plain(RED, BLUE), captions=["one"])
    with pytest.raises(ValueError, match="3 row labels for 1"):
        grid(plain(RED), row_labels=["a", "b", "c"])
    with pytest.raises(ValueError, match="zoom"):
        grid(plain(RED), zoom=0)
    with pytest.raises(ValueError, match="columns"):
        grid(plain(RED), 0)
    with pytest.raises(ValueError, match="expected uint8"):
        grid(torch.zeros(1, 4, 2, 2, dtype=torch.uint8))
    with pytest.raises(ValueError, match="rows of neighbours"):
        neighbours_figure(plain(RED, RED), [plain(BLUE)])
    with pytest.raises(ValueError, match="1 distances for 2"):
        neighbours_figure(plain(RED, RED), [plain(BLUE)] * 2, distances=[[1.0]])


def test_a_figure_too_large_for_memory_is_refused():
    with pytest.raises(UserError, match="too large"):
        grid(plain(RED, size=100), zoom=1000)
    with pytest.raises(UserError, match="fewer pictures"):
        grid(plain(RED, size=10) * 10, 1, pad=10_000)


@pytest.mark.parametrize("size", [16, 64, 200])
def test_no_text_is_cut_by_the_border_or_stands_on_a_picture(size):
    """Letters with ascenders and descenders, in every place for text, at every size of letter."""
    pictures, texts = plain(RED, RED, size=size), ["Ågjpqy", "Ågjpqy"]
    sheet = grid(pictures, 1, captions=texts, row_labels=texts, column_labels=["Ågjpqy"], pad=2)
    colours = np.asarray(sheet)
    letters = ink(sheet) & ~(colours == RED).all(axis=2)
    assert letters.any()
    assert not np.concatenate([letters[0], letters[-1], letters[:, 0], letters[:, -1]]).any()
    assert (colours == RED).all(axis=2).sum() == 2 * size * size
