"""Windows over a long shot, and the path that is drawn through them."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.camera.conftest import TEXT, small

from melies.camera.constraint import Constraint, Key
from melies.camera.generate import draw_paths
from melies.camera.model import CameraDiffusion, CameraDiffusionConfig
from melies.camera.stitch import draw_long_shots, windows
from melies.errors import UserError


@given(st.integers(1, 3000), st.integers(10, 300), st.integers(1, 200))
def test_windows_cover_every_frame_and_share_enough(frames, longest, overlap):
    overlap = min(overlap, longest // 2)
    found = windows(frames, longest, overlap)
    assert found[0].start == 0
    assert found[-1].end == frames
    assert all(one.end - one.start <= longest for one in found)
    for one, other in itertools.pairwise(found):
        assert one.end - other.start >= overlap
        assert other.end > one.end
    assert len(found) == 1 or (len(found) - 1) * (longest - overlap) + overlap < frames


def walk(n):
    return np.stack([0.04 * np.arange(n), np.zeros(n), np.zeros(n)], axis=1)


PROMPT = "the camera trucks right"


def test_a_shot_that_fits_is_drawn_as_ever(director):
    long = draw_long_shots(director, [PROMPT], [walk(30)], seeds=[4], num_steps=2)
    assert np.array_equal(
        long[0].world_from_camera, draw_paths(director, [PROMPT], [walk(30)], seeds=[4], num_steps=2)[0]
    )


def test_a_long_shot_goes_through_without_a_jump_that_no_window_has(director):
    """The model knows 40 frames."""
    path = draw_long_shots(director, [PROMPT], [walk(100)], overlap=15, num_steps=3)[0].world_from_camera
    assert path.shape == (100, 4, 4)
    assert np.allclose(path[:, :3, :3] @ np.swapaxes(path[:, :3, :3], 1, 2), np.eye(3), atol=1e-6)
    plan = windows(100, 40, 15)
    steps = np.linalg.norm(np.diff(path[:, :3, 3], axis=0), axis=1)
    seams = [window.end for window in plan[:-1]]
    # A seam is a step like others: between the last frame that was known and the first that is new.
    assert max(steps[seam - 1] for seam in seams) <= steps.max()
    assert np.median(steps[[seam - 1 for seam in seams]]) < 4 * np.median(steps)


def test_a_zoom_goes_on_from_window_to_window():
    torch.manual_seed(0)
    config = CameraDiffusionConfig(network=small("modulated", features=10), text=TEXT)
    model = CameraDiffusion(config).eval()
    for parameter in model.denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    focal = draw_long_shots(model, [PROMPT], [walk(100)], overlap=15, num_steps=3)[0].focal
    assert focal.shape == (100,)
    steps = np.abs(np.diff(np.log(focal)))
    seams = [window.end - 1 for window in windows(100, 40, 15)[:-1]]
    assert steps[seams].max() <= steps.max()
    assert np.median(steps[seams]) < 4 * np.median(steps)


def test_keys_of_the_whole_hold_in_each_window(director):
    keys = {50: Key(position=np.array([0.5, -0.2, -3.0])), -1: Key(position=np.array([2.0, -0.2, -3.0]))}
    constraint = Constraint(keys=keys, speed=1.5)
    short, long = draw_long_shots(
        director, [PROMPT] * 2, [walk(20), walk(100)], constraints=[Constraint(), constraint], num_steps=2
    )
    assert short.world_from_camera.shape == (20, 4, 4)
    long = long.world_from_camera
    assert np.allclose(long[50, :3, 3], keys[50].position, atol=1e-9)
    assert np.allclose(long[99, :3, 3], keys[-1].position, atol=1e-9)


def test_an_overlap_that_leaves_nothing_is_refused():
    with pytest.raises(UserError, match="overlap"):
        windows(100, 40, 40)
