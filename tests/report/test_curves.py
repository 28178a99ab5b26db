import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melies.errors import UserError
from melies.report.curves import curves_figure, read_curve, running_mean


def log(path, rows, tail=""):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    return path


def read(path):
    return read_curve(path, value="loss", along="samples_seen")


def test_a_curve_is_read_in_order_and_a_resumed_point_once(tmp_path):
    rows = [
        {"samples_seen": 10, "loss": 3.0},
        {"samples_seen": 20, "loss": 2.5},
        {"samples_seen": 20, "loss": 2.0, "lr": 1e-3},  # logged again after a resume
        {"samples_seen": 15, "loss": 9},
        {"samples_seen": 30},
        {"samples_seen": 40, "loss": None},
        {"samples_seen": 50, "loss": float("nan")},
        {"samples_seen": 60, "loss": True},
        {"samples_seen": 70, "loss": 10**400},
    ]
    x, y = read(log(tmp_path / "log.jsonl", rows, tail='\n{"samples_se'))
    assert x.tolist() == [10, 15, 20]
    assert y.tolist() == [3, 9, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no line with both 'samples_seen' and 'loss'"),
        ('{"samples_seen": 1}\n', "no line with both"),
        ('nonsense\n{"samples_seen": 1, "loss": 2}\n', "line 1: not a JSON object"),
        ('[1]\n{"samples_seen": 1, "loss": 2}\n', "line 1: not a JSON object"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path, text, message):
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read(path)
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / "absent.jsonl")


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40), st.integers(0, 10))
def test_the_running_mean_is_the_mean_of_what_is_near(values, window):
    expected = [np.mean(values[max(0, i - window) : i + window + 1]) for i in range(len(values))]
    assert running_mean(np.asarray(values), window) == pytest.approx(np.asarray(expected), abs=1e-9)


def test_the_figure_shows_every_run_and_leaves_no_figure_open(tmp_path):
    import sys

    falling = [{"samples_seen": i, "loss": 100 / (1 + i)} for i in range(1500)]
    flat = [{"samples_seen": i, "loss": 5.0} for i in range(10)]
    first, second = log(tmp_path / "a.jsonl", falling), log(tmp_path / "b.jsonl", flat)
    opened = "matplotlib.pyplot" in sys.modules
    one = np.asarray(curves_figure({"falling": first}, width_px=400, height_px=300))
    two = np.asarray(curves_figure({"falling": first, "flat": second}, width_px=400, height_px=300))
    assert ("matplotlib.pyplot" in sys.modules) == opened
    assert one.shape == two.shape == (300, 400, 3)

    def blue(image):
        return ((image[..., 2] > 150) & (image[..., 0] < 80)).sum()

    def orange(image):
        return ((image[..., 0] > 220) & (image[..., 2] < 80)).sum()

    assert blue(one) > 100
    assert orange(one) == 0
    assert orange(two) > 10
    with pytest.raises(UserError, match="no log"):
        curves_figure({})


@pytest.mark.parametrize(("decades", "share"), [(3, 0.5), (0.9, 0.26)])
def test_the_axis_is_logarithmic_beyond_a_factor_of_ten(tmp_path, decades, share):
    """Half-way a decay by r stands at half the height on a log axis, else at (√r − r) / (1 − r)."""
    rows = [{"samples_seen": i, "loss": 10 ** (-decades * i / 400)} for i in range(401)]
    figure = curves_figure({"run": log(tmp_path / "log.jsonl", rows)}, width_px=800, height_px=600)
    drawn = np.abs(np.asarray(figure, int) - (31, 119, 180)).sum(-1) < 60
    columns = np.nonzero(drawn.any(0))[0]
    ends = columns.min(), columns.max()

    def height(column: float) -> int:
        """Pixels from the top to the curve, which is below the legend everywhere."""
        return np.nonzero(drawn[:, columns[np.abs(columns - column).argmin()]])[0].max()

    top, middle, bottom = height(ends[0]), height(sum(ends) / 2), height(ends[1])
    assert (bottom - middle) / (bottom - top) == pytest.approx(share, abs=0.06)


def test_a_place_that_is_marked_is_seen(tmp_path):
    path = log(tmp_path / "log.jsonl", [{"samples_seen": i, "loss": 1.0 + i} for i in range(10)])
    plain = np.asarray(curves_figure({"run": path}, width_px=300, height_px=200))
    marked = np.asarray(curves_figure({"run": path}, marks={"jump": 4.5}, width_px=300, height_px=200))
    columns = (plain != marked).any(-1).sum(0)
    assert columns.max() > 60  # a dashed line from top to bottom
    assert 100 < int(columns.argmax()) < 220  # in the middle
