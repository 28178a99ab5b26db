"""Where a character is in the picture, by hand, and the turn that keeps it there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melies.camera.framing import ASPECT, FOCAL, HEIGHT, at_size, in_view, keep_in_view, seen_from
from melies.camera.synthesis import synthesize
from melies.geometry import camera_steps, direction_of, pose_of, rotation_looking


def looking(position, yaw=0.0, pitch=0.0, n=1):
    """A camera that stands."""
    return np.tile(pose_of(rotation_looking(direction_of(yaw, pitch)), np.array(position, float)), (n, 1, 1))


def test_the_edges_of_the_picture_are_where_they_are():
    camera = looking((0, 0, -2.0), n=1)
    side, top = 2.0 * ASPECT / 2 / FOCAL, 2.0 / 2 / FOCAL
    for point, seen in [
        ((0.999 * side, 0, 0), True),
        ((1.001 * side, 0, 0), False),
        ((0, -0.999 * top, 0), True),
        ((0, -1.001 * top, 0), False),
        ((0, 0, -2.5), False),
    ]:
        assert in_view(camera, np.array([point]))[0] == seen
    assert not in_view(camera, np.array([[0.95 * side, 0, 0]]), margin=0.05)[0]


def test_to_the_right_is_right_and_above_is_up():
    x, y, z = seen_from(looking((0, 0, -2.0)), np.array([[0.5, -0.3, 0.0]]))[0]
    assert (x, y, z) == pytest.approx((0.5, -0.3, 2.0))


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-3.1, 3.1),
    st.floats(-1.2, 1.2),
    st.floats(0, 0.4),
    st.sampled_from(["world", "camera"]),
)
def test_who_is_out_of_the_picture_is_brought_to_its_margin(yaw, pitch, margin, axes):
    poses = looking((0.5, -0.4, -3.0), yaw, pitch, n=4)
    poses[:, 0, 3] += 0.02 * np.arange(4)
    character = np.zeros((4, 3))
    kept = keep_in_view(poses, character, margin, axes=axes)
    assert in_view(kept, character, margin - 1e-6).all()
    assert np.allclose(kept[:, :3, :3] @ np.swapaxes(kept[:, :3, :3], 1, 2), np.eye(3))
    again = keep_in_view(kept, character, margin, axes=axes)
    assert np.allclose(again, kept, atol=1e-6)


def test_only_what_is_out_of_the_picture_is_turned_and_steps_stay():
    for shot in synthesize(8, seed=3):
        poses, character = shot.world_from_camera, shot.character
        if in_view(poses, character).all():
            assert np.allclose(keep_in_view(poses, character, 0.0), poses)
        for axes in ("world", "camera"):
            kept = keep_in_view(poses, character, 0.2, axes=axes)
            if axes == "world":
                assert np.allclose(kept[:, :3, 3], poses[:, :3, 3])
            else:
                assert np.allclose(camera_steps(kept, 25.0)[:, :3], camera_steps(poses, 25.0)[:, :3])


def test_a_character_is_as_tall_as_it_is_asked_to_be():
    line = np.array([0.5, -0.4, -3.0])
    poses = looking(line, yaw=-np.arctan2(0.5, 3.0), pitch=-np.arctan2(0.4, np.hypot(0.5, 3.0)), n=3)
    character = np.zeros((3, 3))
    sized = at_size(poses, character, 0.5)
    x, y, depth = seen_from(sized, character)[0]
    assert (x, y) == pytest.approx((0, 0))
    assert HEIGHT * FOCAL / depth == pytest.approx(0.5)
    assert np.allclose(sized[:, :3, 3] - sized[0, :3, 3], poses[:, :3, 3] - poses[0, :3, 3])
    assert np.allclose(np.cross(sized[0, :3, 3], line), 0)
    assert np.array_equal(at_size(looking((0, 0, 0.0)), character[:1], 0.5), looking((0, 0, 0.0)))
