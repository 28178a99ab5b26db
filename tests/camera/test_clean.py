"""Tracks made clean: against the solution in one piece, and by what must not change."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melies.camera.clean import CleaningConfig, Part, fill_gaps, find_parts, runs_of, smooth_track
from melies.errors import UserError

CONFIG = CleaningConfig()


@pytest.mark.parametrize(("process", "measurement"), [(0.5, 1.0), (0.1, 2.0), (3.0, 0.5)])
def test_smoothing_is_the_least_squares_solution(process, measurement):
    """Positions and velocities at once, each error weighed by its covariance: one linear system."""
    rng = np.random.default_rng(0)
    n = 17
    track = np.cumsum(rng.normal(size=(n, 3)), axis=0)
    covariance = process**2 * np.array([[1 / 3, 1 / 2], [1 / 2, 1.0]])
    root = np.linalg.cholesky(np.linalg.inv(covariance)).T
    step = np.array([[1.0, 1.0], [0.0, 1.0]])
    rows, values = [], []
    for frame in range(n):
        row = np.zeros((1, 2 * n))
        row[0, 2 * frame] = 1 / measurement
        rows.append(row)
        values.append(track[frame : frame + 1] / measurement)
        if frame:
            pair = np.zeros((2, 2 * n))
            pair[:, 2 * frame - 2 : 2 * frame] = -root @ step
            pair[:, 2 * frame : 2 * frame + 2] = root
            rows.append(pair)
            values.append(np.zeros((2, 3)))
    exact = np.linalg.lstsq(np.concatenate(rows), np.concatenate(values), rcond=None)[0][::2]
    found = smooth_track(track, CleaningConfig(process_std=process, measurement_std=measurement))
    assert found == pytest.approx(exact, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 40), st.integers(0, 2**31))
def test_a_straight_track_of_constant_velocity_stays(n, seed):
    rng = np.random.default_rng(seed)
    track = rng.normal(size=3) + np.arange(n)[:, None] * rng.normal(size=3)
    assert smooth_track(track, CONFIG) == pytest.approx(track, abs=1e-6)
    turned = smooth_track(track[::-1].copy(), CONFIG)[::-1]
    assert turned == pytest.approx(track, abs=1e-6)


def test_noise_becomes_less():
    rng = np.random.default_rng(1)
    t = np.linspace(0, 2, 200)
    clean = np.stack([np.sin(t), t, np.cos(t)], axis=1)
    noisy = clean + rng.normal(0, 0.01, clean.shape)
    smooth = smooth_track(noisy, CleaningConfig(measurement_std=50.0))
    assert np.abs(smooth - clean).mean() < 0.5 * np.abs(noisy - clean).mean()
    assert smooth_track(noisy, CleaningConfig(measurement_std=0.0)) == pytest.approx(noisy)


def test_a_jump_parts_a_track_and_short_parts_go():
    steps = np.full((99, 3), 0.01)
    steps[40] = 1.0  # from frame 40 to 41
    steps[90] = 1.0
    track = np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])
    assert find_parts([track], CONFIG) == [Part(0, 41), Part(42, 91)]
    other = np.zeros((100, 3))
    other[:, 0] = 0.01 * np.arange(100)
    other[20:, 0] += 5.0
    assert find_parts([track, other], CONFIG) == [Part(0, 20), Part(21, 41), Part(42, 91)]


def test_what_stands_still_is_kept_whole():
    assert find_parts([np.zeros((30, 3))], CONFIG) == [Part(0, 30)]
    assert find_parts([np.zeros((5, 3))], CONFIG) == []


@given(st.lists(st.booleans(), max_size=40))
def test_runs_cover_what_is_true(mask):
    array = np.array(mask, dtype=bool)
    covered = np.zeros(len(mask), dtype=bool)
    for start, end in runs_of(array):
        covered[start:end] = True
        assert start < end
        assert end == len(mask) or not mask[end]
    assert (covered == array).all()


def test_gaps_are_drawn_straight_but_for_long_ones_and_ends():
    track = np.arange(60.0)[:, None] * np.array([1.0, -2.0, 0.5])
    seen = track.copy()
    seen[:2] = np.nan
    seen[10:15] = np.nan
    seen[20:50] = np.nan
    filled, known = fill_gaps(seen, longest=25)
    assert not known[:2].any()
    assert known[10:15].all()
    assert not known[20:50].any()
    assert filled[known] == pytest.approx(track[known])
    with pytest.raises(UserError, match="no frame"):
        fill_gaps(np.full((4, 3), np.nan))
