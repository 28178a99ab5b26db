"""The tagger gives the published labels, on real samples and on motions whose labels are known."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from melies.camera.labels import (
    CAMERA_MOVES,
    CHARACTER_MOVES,
    NUM_LABELS,
    camera_name,
    character_name,
    label_of,
    signs_of,
)
from melies.camera.tag import (
    CAMERA,
    CHARACTER,
    Segment,
    find_segments,
    label_velocity,
    smooth_labels,
    tag_camera,
    tag_character,
)
from melies.geometry import exp_rotation, pose_of

EVERY = np.arange(NUM_LABELS)


def path(velocity, turn=(0.0, 0.0, 0.0), frames=80, fps=25.0):
    """A camera that keeps its velocity (m/s) in its own axes while it turns (rad/s)."""
    rotation = exp_rotation(np.outer(np.arange(frames) / fps, turn))
    steps = (rotation[:-1] @ (np.asarray(velocity) / fps)[:, None])[..., 0]
    position = np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])
    return pose_of(rotation, position)


@pytest.mark.parametrize("sample", ["2011_F_EuMeT2wBo_00014_00001", "2011_MCkKihQrNA4_00014_00000"])
def test_real_samples_have_their_stored_labels(shared_data, sample):
    root = shared_data / "et_samples"
    rows = np.loadtxt(root / "traj" / f"{sample}.txt").reshape(-1, 3, 4)
    camera = tag_camera(pose_of(rows[:, :, :3], rows[:, :, 3]))
    character = tag_character(np.load(root / "char" / f"{sample}.npy", allow_pickle=False))
    assert (camera == np.load(root / "cam_segments" / f"{sample}.npy", allow_pickle=False)).all()
    assert (character == np.load(root / "char_segments" / f"{sample}.npy", allow_pickle=False)).all()


def test_the_numbers_are_the_published_ones():
    assert camera_name(0) == character_name(0) == "static"
    assert [camera_name(label) for label in (1, 2, 3, 6, 9, 18)] == [
        *("push_in", "pull_out", "boom_bottom", "boom_top", "trucking_right", "trucking_left")
    ]
    assert camera_name(26) == "trucking_left-boom_top-pull_out"
    assert character_name(13) == "move_right-move_down-move_forward"
    for name in (camera_name, character_name):
        assert len({name(label) for label in EVERY.tolist()}) == NUM_LABELS
    assert set(CAMERA_MOVES) == set(CHARACTER_MOVES)
    assert (label_of(signs_of(EVERY)) == EVERY).all()


@pytest.mark.parametrize("turn", [(0, 0, 0), (0.4, -0.8, 0.3)])
@pytest.mark.parametrize("label", EVERY.tolist())
def test_every_motion_is_told_whatever_way_the_camera_turns(label, turn):
    velocity = signs_of(label) * np.array([0.3, 0.25, 0.35])
    assert (tag_camera(path(velocity, turn)) == label).all()
    walked = np.cumsum(np.tile(4 * velocity / 25, (80, 1)), axis=0)
    assert (tag_character(walked) == label).all()


def test_thresholds_are_in_metres_per_second_whatever_the_frame_rate():
    for speed, label in ((0.019, 0), (0.021, 9)):
        for fps in (24.0, 50.0):
            assert (tag_camera(path((speed, 0, 0), fps=fps), fps) == label).all()
    steps = np.outer(np.arange(80) / 25, (0.0, 0.0, 1.0))
    assert (tag_character(0.21 * steps) == 0).all()
    assert (tag_character(-0.23 * steps) == 2).all()


def test_of_two_axes_the_slower_is_dropped_when_the_faster_leads():
    for slower, label in ((0.59, 1), (0.61, 10)):
        assert label_velocity(np.array([[slower, 0.0, 1.0]]), CAMERA) == label
    for slower, label in ((0.67, 6), (0.69, 8)):
        assert label_velocity(np.array([[0.0, -1.0, -slower]]), CHARACTER) == label


@given(arrays(np.float64, (4, 3), elements=st.floats(-2, 2)))
def test_what_moves_back_has_the_opposite_label(velocity):
    there, back = label_velocity(velocity, CAMERA), label_velocity(-velocity, CAMERA)
    assert (signs_of(there) == -signs_of(back)).all()


def test_the_most_frequent_label_of_a_window_is_taken_and_the_smallest_of_equals():
    labels = np.array([9] * 60 + [1, 9] * 20 + [1] * 60)
    half = 28
    expected = [
        min(
            (label for label, n in counted.items() if n == max(counted.values())),
        )
        for i in range(len(labels))
        if (counted := Counter(labels[max(0, i - half) : i + half + 1].tolist()))
    ]
    assert smooth_labels(labels, window=2 * half, shortest=0).tolist() == expected
    assert smooth_labels(labels[:55], shortest=0).tolist() == labels[:55].tolist()


def test_short_runs_go_to_their_neighbours_the_shortest_first():
    labels = np.repeat([1, 9, 2], [30, 7, 30])
    assert smooth_labels(labels, window=99, shortest=25).tolist() == [1] * 34 + [2] * 33
    assert smooth_labels(np.repeat([1, 9], [3, 30]), window=99, shortest=25).tolist() == [9] * 33
    assert smooth_labels(np.repeat([9, 1], [30, 3]), window=99, shortest=25).tolist() == [9] * 33
    assert smooth_labels(np.array([5, 5]), window=99, shortest=25).tolist() == [5, 5]


def test_segments_are_the_whole_track():
    labels = np.array([0, 0, 9, 9, 9, 0])
    assert find_segments(labels) == [Segment(0, 0, 2), Segment(9, 2, 5), Segment(0, 5, 6)]
    assert find_segments(labels[:0]) == []
    assert tag_character(np.zeros((1, 3))).tolist() == []
