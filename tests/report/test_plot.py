"""Plots show what they are given: colours where data is, none where there is none."""

import numpy as np
import pytest
from PIL import Image

from melies.report.plot import MANY_POINTS, Line, bars_figure, draw_axes, lines_figure, map_figure

BLUE, ORANGE = (31, 119, 180), (255, 127, 14)


def coloured(picture: Image.Image, colour: tuple[int, int, int], tolerance: int = 30) -> np.ndarray:
    """Rows and columns of the pixels of about a colour."""
    far = np.abs(np.asarray(picture).astype(int) - colour).max(-1)
    return np.argwhere(far <= tolerance)


def test_a_plot_has_the_size_asked_for_and_what_was_painted():
    picture = draw_axes(
        lambda axes: axes.axhline(0.5, color=(1, 0, 0), linewidth=5), width_px=300, height_px=200
    )
    assert (picture.size, picture.mode) == ((300, 200), "RGB")
    assert len(coloured(picture, (255, 0, 0))) > 500


def test_a_rising_line_rises_and_a_falling_one_falls():
    picture = lines_figure({"up": Line([0, 1], [0, 1]), "down": Line([0, 1], [1, 0])}, x="x", y="y")
    for colour, sign in ((BLUE, -1), (ORANGE, 1)):  # rows count downwards
        rows, columns = coloured(picture, colour)[:, 0], coloured(picture, colour)[:, 1]
        inside = columns < 500  # not the legend
        assert np.sign(np.corrcoef(rows[inside], columns[inside])[0, 1]) == sign


def test_intervals_are_bars_of_their_length():
    def height(interval):
        line = Line([0, 1, 2], [0, 1, 0], [(0.0, 0.0), interval, (0.0, 0.0)])
        rows = coloured(lines_figure({"a": line}, x="", y=""), BLUE, tolerance=90)[:, 0]
        return rows.max() - rows.min()

    assert height((0.9, 5.0)) > 0
    blank = lines_figure({"a": Line([0, 1, 2], [0, 1, 0])}, x="", y="")
    with_bars = lines_figure({"a": Line([0, 1, 2], [0, 1, 0], [(-1, 1), (0, 2), (-1, 1)])}, x="", y="")
    faint = (143, 187, 217)
    assert len(coloured(with_bars, faint, 8)) > len(coloured(blank, faint, 8)) + 100


def test_logarithmic_axes_make_a_power_law_straight():
    x = np.geomspace(1, 1e4, 60)
    picture = lines_figure({"a": Line(x.tolist(), (x**-2).tolist())}, x="", y="", logarithmic=("x", "y"))
    found = coloured(picture, BLUE)
    assert abs(np.corrcoef(found[:, 0], found[:, 1])[0, 1]) > 0.999


def test_bars_have_the_heights_given():
    picture = bars_figure({"one": [1.0, 3.0]}, ["a", "b"], y="", level=2.0)
    columns = np.bincount(coloured(picture, BLUE, 5)[:, 1], minlength=picture.width)
    assert columns[picture.width // 2 :].max() / columns[: picture.width // 2].max() == pytest.approx(
        3, rel=0.05
    )


def test_bars_have_their_intervals():
    def height(interval):
        picture = bars_figure({"a": [1.0, 1.0]}, ["p", "q"], y="", intervals={"a": [(1.0, 1.0), interval]})
        inside = np.asarray(picture)[:, picture.width // 2 + 40 : -80]
        return len(np.unique(np.argwhere((inside < 40).all(-1))[:, 0]))

    assert height((0.5, 1.5)) > 1.8 * height((0.8, 1.2)) > 0


def test_a_bar_beyond_the_axis_says_how_high_it_is():
    def drawn(high, top):
        return np.asarray(bars_figure({"a": [1.0, high]}, ["p", "q"], y="", top=top))

    plain, cut = (coloured(Image.fromarray(drawn(40.0, top)), BLUE, 5) for top in (None, 4.0))
    left = [np.bincount(found[:, 1], minlength=640)[:320].max() for found in (plain, cut)]
    assert left[1] > 5 * left[0]
    same = drawn(40.0, 4.0) == drawn(70.0, 4.0)
    assert not same.all()  # the number
    assert same[100:].all()


def test_a_map_has_a_colour_for_each_class_and_bounds_its_points():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(2 * MANY_POINTS, 2))
    labels = (points[:, 0] > 0).astype(np.int64)
    points[:, 0] *= 3
    picture = map_figure(points, labels, ["left", "right"], title="two")
    left, right = (coloured(picture, colour, 60)[:, 1].mean() for colour in (BLUE, ORANGE))
    assert left < right
    one = map_figure(points, None, [])
    assert len(coloured(one, BLUE, 60)) > 0
    assert len(coloured(one, ORANGE, 60)) == 0


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="at least one line"):
        lines_figure({}, x="", y="")
    with pytest.raises(ValueError, match="one bar per label"):
        bars_figure({"a": [1.0]}, ["x", "y"], y="")
