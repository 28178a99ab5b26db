"""Points lie where they are, and cells are coloured by sign."""

import numpy as np
import pytest

from melies.report.front import CROSSED, Point, front_figure
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


def test_many_points_are_not_hidden_by_their_intervals():
    def blue(number, wide):
        group = [Point(i, i, (i - wide, i + wide), (i - wide, i + wide)) for i in range(number)]
        return len(coloured(front_figure({"a": group}, x="x", y="y"), (180, 205, 225), 30))

    assert blue(CROSSED, 8) > 3 * blue(CROSSED, 0)
    assert blue(CROSSED + 1, 8) == blue(CROSSED + 1, 0)


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


@pytest.mark.parametrize("count", [1, 2])
def test_a_long_title_of_a_matrix_is_not_cut(count):
    names = [f"place {i}" for i in range(count)]
    table = [[0.0] * count] * count
    picture = matrix_figure(
        table,
        rows=names,
        columns=names,
        texts=[[""] * count] * count,
        title="FD of clamp-linear on test seeds, against static guidance at the same scale",
    )
    dark = np.asarray(picture.convert("L"))[:20] < 200
    assert dark.any()
    assert not dark[:, :8].any()
    assert not dark[:, -8:].any()
