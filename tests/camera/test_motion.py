"""Turns, zooms, arcs and dolly-zooms that are made, and found."""

import numpy as np
import pytest

from melies.camera.motion import NAMES, Motion, find_motions, label_motions, say_motions
from melies.camera.path import at_frame_rate
from melies.camera.synthesis import synthesize
from melies.geometry import direction_of, exp_rotation, pose_of, rotation_looking

N = 120


def path_of(yaw=0.0, pitch=0.0, roll=0.0, *, speed=(0.0, 0.0, 0.0), zoom=0.0):
    """N frames; degrees a second, metres a second in the camera's axes, zoom a second."""
    t = np.arange(N) / 25
    rotation = rotation_looking(direction_of(np.deg2rad(yaw) * t, np.deg2rad(pitch) * t))
    rotation = rotation @ exp_rotation(np.outer(np.deg2rad(roll) * t, [0, 0, 1.0]))
    own = np.tile(np.array(speed) / 25, (N - 1, 1))
    steps = (rotation[:-1] @ own[:, :, None])[..., 0]
    position = np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])
    focal = 1.2 * np.exp(zoom * t)
    half = np.full(N, 0.5)
    lens = np.stack([focal * 9 / 16, focal, half, half], axis=1)
    return at_frame_rate(pose_of(rotation, position), 25.0, lens=lens, aspect=16 / 9)


@pytest.mark.parametrize(
    ("made", "name"),
    [
        ({"yaw": 8}, "pan_right"),
        ({"yaw": -8}, "pan_left"),
        ({"pitch": 8}, "tilt_up"),
        ({"pitch": -8}, "tilt_down"),
        ({"roll": 8}, "roll_clockwise"),
        ({"roll": -8}, "roll_counterclockwise"),
        ({"zoom": 0.1}, "zoom_in"),
        ({"zoom": -0.1}, "zoom_out"),
    ],
)
def test_each_motion_is_found_alone(made, name):
    assert find_motions(path_of(**made)) == [Motion(name, 0, N - 1)]


def test_a_camera_that_goes_round_a_point_arcs():
    """Two metres round: 0.4 m/s to the right, and a turn to the left that keeps the point in the middle."""
    path = path_of(yaw=-np.rad2deg(0.4 / 2), speed=(0.4, 0, 0))
    names = [motion.name for motion in find_motions(path)]
    assert names == ["arc_right", "pan_left"]
    centre = path.world_from_camera[:, :3, 3] + 2 * path.world_from_camera[:, :3, 2]
    assert np.ptp(centre, axis=0).max() < 0.02
    other = [motion.name for motion in find_motions(path_of(yaw=20, speed=(0.4, 0, 0)))]
    assert other == ["pan_right"]  # it turns the way that it goes


def test_a_dolly_zoom_is_a_push_in_against_its_lens():
    names = [motion.name for motion in find_motions(path_of(speed=(0, 0, 0.4), zoom=-0.1))]
    assert names == ["dolly_zoom_in", "zoom_out"]
    names = [motion.name for motion in find_motions(path_of(speed=(0, 0, -0.4), zoom=0.1))]
    assert names == ["dolly_zoom_out", "zoom_in"]
    assert "dolly" not in str(find_motions(path_of(speed=(0, 0, 0.4), zoom=0.1)))


def test_who_stands_does_nothing_and_what_is_weak_is_dropped():
    assert find_motions(path_of()) == []
    assert find_motions(path_of(yaw=1.0, zoom=0.01)) == []
    assert [motion.name for motion in find_motions(path_of(yaw=10, pitch=2))] == ["pan_right"]
    both = find_motions(path_of(yaw=5, pitch=4.5))
    assert [motion.name for motion in both] == ["pan_right", "tilt_up"]


def test_translations_alone_are_no_turns():
    """Shots made by rule whose camera does not turn."""
    for shot in synthesize(30, seed=2):
        if shot.follows:
            signs = label_motions(at_frame_rate(shot.world_from_camera, 25.0))
            assert set(signs) == set(NAMES)
            assert not any(one.any() for one in signs.values())


def test_motions_are_said():
    assert say_motions([], 100) == ""
    assert say_motions([Motion("pan_right", 0, 100)], 100) == "It pans right."
    motions = [Motion("roll_clockwise", 0, 30), Motion("dolly_zoom_in", 60, 100)]
    assert say_motions(motions, 100) == "It rolls clockwise at first and dolly-zooms in at the end."


def test_a_sentence_keeps_to_the_longest_and_says_nothing_twice():
    many = [Motion("pan_left" if i % 2 else "pan_right", 10 * i, 10 * i + 5 + i) for i in range(9)]
    said = say_motions(many, 100)
    assert said.count("pan") <= 5
    ways = ("pans right in the middle", "pans left in the middle", "pans right at the end")
    assert said == f"It {', '.join(ways)} and pans left at the end."
