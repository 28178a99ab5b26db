"""Windows with scales and origins of their own become the path that they were cut from."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from melies.camera.align import Window, fit_positions, join_windows
from melies.camera.synthesis import synthesize
from melies.errors import UserError


def cut(poses, character, *, size, overlap, rng):
    """Windows of a shot, each scaled and moved at random but for the first."""
    windows = []
    for start in range(0, max(len(poses) - overlap, 1), size - overlap):
        part = poses[start : start + size].copy()
        scale, shift = (1.0, np.zeros(3)) if not start else (rng.uniform(0.5, 2), rng.normal(size=3))
        beside = character[start : start + size] - part[:, :3, 3]
        part[:, :3, 3] = (part[:, :3, 3] - shift) / scale
        windows.append(Window(start, part, part[:, :3, 3] + beside))
    return windows


@settings(max_examples=10, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(st.integers(0, 1000), st.integers(20, 120), st.integers(3, 12))
def test_windows_join_to_the_path(seed, size, overlap):
    rng = np.random.default_rng(seed)
    poses = next(synthesize(1, seed=seed)).world_from_camera
    t = np.arange(len(poses)) / 25  # a camera that never stands still, so that every overlap tells the scale
    poses[:, :3, 3] = np.stack([np.sin(t), 0.3 * t, np.cos(2 * t)], axis=1)
    character = rng.normal(size=(len(poses), 3))
    joined = join_windows(cut(poses, character, size=size, overlap=overlap, rng=rng))
    assert np.abs(joined.world_from_camera - poses).max() < 1e-6
    assert np.abs(joined.character - character).max() < 1e-6


def test_the_fit_is_the_least_squares_one():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(9, 3)), rng.normal(size=(9, 3)) + np.arange(9)[:, None]
    target += 2 * source
    rows = np.concatenate(
        [np.concatenate([source[:, i : i + 1], np.eye(3)[i] * np.ones((9, 1))], 1) for i in range(3)]
    )
    exact = np.linalg.lstsq(rows, target.T.reshape(-1), rcond=None)[0]
    fit = fit_positions(target, source)
    assert (fit.scale, *fit.shift) == pytest.approx(tuple(exact))


def test_a_camera_that_stands_still_keeps_the_scale_of_the_window_before():
    source = np.tile([[1.0, 2.0, 3.0]], (5, 1))
    fit = fit_positions(np.tile([[4.0, 4.0, 4.0]], (5, 1)), source, usual=1.5)
    assert fit.scale == 1.5
    assert fit.scale * source + fit.shift == pytest.approx(np.full((5, 3), 4.0))
    mirrored = fit_positions(np.arange(15.0).reshape(5, 3), -np.arange(15.0).reshape(5, 3), usual=0.7)
    assert mirrored.scale == 0.7


def test_windows_that_leave_frames_out_are_refused():
    poses = np.tile(np.eye(4), (5, 1, 1))
    with pytest.raises(UserError, match="frames 5 to 7 are in no window"):
        join_windows([Window(0, poses), Window(8, poses)])
    with pytest.raises(UserError, match="no windows"):
        join_windows([])
    with pytest.raises(UserError, match="some do not"):
        join_windows([Window(0, poses, np.zeros((5, 3))), Window(3, poses)])
