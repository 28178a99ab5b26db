"""Rotations and rigid motions: what is known of them in closed form, and scipy beside them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melies.geometry import (
    SMALL_ANGLE,
    camera_steps,
    exp_pose,
    exp_rotation,
    interpolate,
    inverse,
    log_pose,
    log_rotation,
    nearest_rotation,
    pose_of,
    quaternion_from_rotation,
    rotation_from_quaternion,
)

ANGLES = [0.0, 1e-12, 1e-5, 0.9999 * SMALL_ANGLE, 1.0001 * SMALL_ANGLE, 1.0, 3.0, math.pi - 1e-7]


def vectors(angle: float, count: int = 20) -> np.ndarray:
    draws = np.random.default_rng(0).normal(size=(count, 3))
    return angle * draws / np.linalg.norm(draws, axis=-1, keepdims=True)


@pytest.mark.parity
@pytest.mark.parametrize("angle", ANGLES)
def test_rotations_are_those_of_scipy(angle):
    transform = pytest.importorskip("scipy.spatial.transform")
    theirs = transform.Rotation.from_rotvec(vectors(angle))
    ours = exp_rotation(vectors(angle))
    np.testing.assert_allclose(ours, theirs.as_matrix(), atol=1e-14)
    np.testing.assert_allclose(log_rotation(ours), vectors(angle), atol=1e-12)
    np.testing.assert_allclose(quaternion_from_rotation(ours), theirs.as_quat(canonical=True), atol=1e-14)
    np.testing.assert_allclose(rotation_from_quaternion(3 * theirs.as_quat()), ours, atol=1e-14)


@pytest.mark.parity
@pytest.mark.parametrize("angle", ANGLES)
def test_rigid_motions_are_those_of_the_matrix_exponential(angle):
    linalg = pytest.importorskip("scipy.linalg")
    twists = np.concatenate([vectors(2.0)[::-1], vectors(angle)], axis=-1)
    generator = np.zeros((len(twists), 4, 4))
    generator[:, :3, 3] = twists[:, :3]
    x, y, z = twists[:, 3:].T
    generator[:, 0, 1], generator[:, 0, 2], generator[:, 1, 2] = -z, y, -x
    generator[:, 1, 0], generator[:, 2, 0], generator[:, 2, 1] = z, -y, x
    np.testing.assert_allclose(exp_pose(twists), linalg.expm(generator), atol=1e-13)
    np.testing.assert_allclose(log_pose(exp_pose(twists)), twists, atol=1e-11)


def test_half_a_turn_has_a_logarithm():
    for axis in np.eye(3):
        turn = log_rotation(exp_rotation(math.pi * axis))
        np.testing.assert_allclose(np.abs(turn), math.pi * axis, atol=1e-12)


@given(st.lists(st.floats(-50, 50), min_size=6, max_size=6))
def test_a_motion_and_its_inverse_cancel(values):
    pose = exp_pose(np.array(values))
    np.testing.assert_allclose(inverse(pose) @ pose, np.eye(4), atol=1e-10)


def test_the_nearest_rotation_undoes_stretch_and_never_mirrors():
    rotation = exp_rotation(vectors(1.3))
    np.testing.assert_allclose(nearest_rotation(rotation @ np.diag([1.2, 0.9, 1.01])), rotation, atol=1e-14)
    np.testing.assert_allclose(nearest_rotation(1.7 * rotation), rotation, atol=1e-14)
    assert np.all(np.linalg.det(nearest_rotation(rotation @ np.diag([1.0, 1.0, -1.0]))) > 0.99)


def test_between_two_poses_the_way_is_even():
    ends = pose_of(exp_rotation(np.array([[0.0, 0, 0], [0, 1.2, 0]])), np.array([[0.0, 0, 0], [4, 0, 2]]))
    between = interpolate(ends, np.array([10.0, 12.0]), np.array([9.0, 10.5, 12.0]))
    np.testing.assert_allclose(between[0], ends[0], atol=1e-15)
    np.testing.assert_allclose(between[1, :3, 3], [1, 0, 0.5])
    np.testing.assert_allclose(log_rotation(between[1, :3, :3]), [0, 0.3, 0], atol=1e-14)
    np.testing.assert_allclose(between[2], ends[1], atol=1e-14)


def test_velocity_is_seen_from_the_camera():
    # Looking along world x, moving along world x at 0.5 m/s: forward, whatever the world calls it.
    turn = np.broadcast_to(exp_rotation(np.array([0, math.pi / 2, 0])), (3, 3, 3))
    path = pose_of(turn, np.array([[0.0, 0, 0], [0.02, 0, 0], [0.04, 0, 0]]))
    np.testing.assert_allclose(camera_steps(path, 25.0), [[0, 0, 0.5, 0, 0, 0]] * 2, atol=1e-13)
