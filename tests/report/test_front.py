"""Points lie where they are, and cells are coloured by sign."""

import numpy as np
import pytest

from melies.report.front import Point, front_figure
from melies.report.matrix import matrix_figure


def coloured(picture, colour, tolerance=40):
    far = np.abs(np.asarray(picture).astype(int) - colour).max(-1)
    return np.argwhere(far <= tolerance)


def test_a_rising_group_rises_and_only_the_front_is_ringed():
    def point(x, y, on_front=False):
        return Point(x, y, (x, x), (y, y), "", on_front)

    plain = front_figure({"a": [point(0, 0), point(1, 1)]}, x="x", y="y")
    ringed = front_figure({"a": [point(0, 0), point(1, 1, True)]}, x="x", y="y")
    places = coloured(plain, (31, 119, 180))
    inside = places[places[:, 1] < 600]
    assert np.corrcoef(inside.T)[0, 1] < -0.9  # rows count downwards
    before, after = (len(coloured(figure, (0, 0, 0), 60)) for figure in (plain, ringed))
    assert after > before
    with pytest.raises(ValueError, match="at least one point"):
        front_figure({"a": []}, x="x", y="y")


def test_cells_below_zero_are_blue_above_red_and_empty_ones_white():
    names = {"rows": ["r", "s"], "columns": ["c", "d"]}
    picture = matrix_figure([[-1.0, 1.0], [None, 0.0]], texts=[["", ""], ["", ""]], title="", **names)
    assert picture.size == (600, 280)
    pixels = np.asarray(picture).astype(int)
    blue = np.argwhere(pixels[..., 2] - pixels[..., 0] > 60)
    red = np.argwhere(pixels[..., 0] - pixels[..., 2] > 60)
    assert len(blue) > 1_000
    assert len(red) > 1_000
    assert blue[:, 1].max() < red[:, 1].min()  # left and right of the upper row
    assert np.allclose(blue[:, 0].mean(), red[:, 0].mean(), atol=3)
    with pytest.raises(ValueError, match="cells of"):
        matrix_figure([[1.0]], texts=[["", ""]], title="", **names)
