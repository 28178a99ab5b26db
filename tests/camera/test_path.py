"""Paths are checked when they are made, characters when they are read, and both come back from files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from melies.camera.character import PRESETS, WALK, preset_character, read_character
from melies.camera.path import CameraPath, at_frame_rate
from melies.errors import UserError
from melies.geometry import exp_rotation, pose_of, rotation_looking


def some(frames=20, seed=0):
    rng = np.random.default_rng(seed)
    rotation = exp_rotation(rng.normal(size=(frames, 3)))
    return at_frame_rate(pose_of(rotation, rng.normal(size=(frames, 3))), 24.0)


def test_rotations_are_repaired_up_to_a_thousandth():
    path = some()
    bent = path.world_from_camera.copy()
    bent[3, :3, :3] *= 1.0004
    mended = CameraPath(world_from_camera=bent, times=path.times)
    assert np.allclose(mended.world_from_camera, path.world_from_camera, atol=1e-9)
    bent[3, :3, :3] *= 1.002
    with pytest.raises(UserError, match="not orthonormal at frame 3, off by"):
        CameraPath(world_from_camera=bent, times=path.times)
    mirrored = path.world_from_camera.copy()
    mirrored[5, :3, 0] *= -1
    with pytest.raises(UserError, match="at frame 5"):
        CameraPath(world_from_camera=mirrored, times=path.times)


def test_times_and_lenses_are_checked():
    path = some(3)
    with pytest.raises(UserError, match="does not go on at frame 2"):
        CameraPath(world_from_camera=path.world_from_camera, times=np.array([0.0, 1.0, 1.0]))
    with pytest.raises(UserError, match="0 frames a second"):
        at_frame_rate(path.world_from_camera, 0)
    lens = np.array([[1, 1, 0.5, 0.5], [0, 1, 0.5, 0.5], [1, 1, 0.5, 0.5]])
    with pytest.raises(UserError, match="positive focal length at frame 1"):
        CameraPath(world_from_camera=path.world_from_camera, times=path.times, lens=lens)
    assert some(1).fps == 25
    assert some(9).fps == pytest.approx(24)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_begin_at_the_origin_and_walk(name):
    track = preset_character(name, 100)
    assert track.shape == (100, 3)
    assert np.allclose(track[0], 0)
    speed = 25 * np.linalg.norm(np.diff(track, axis=0), axis=1)
    if name.startswith("walk") or name == "circle":
        assert speed.max() == pytest.approx(WALK, rel=0.02)
    assert preset_character(name, 1).shape == (1, 3)
    with pytest.raises(UserError, match="walk-right"):
        preset_character("walk-rihgt", 10)


def test_a_circle_closes_and_stairs_climb():
    assert np.allclose(preset_character("circle", 101)[-1], 0, atol=1e-9)
    assert preset_character("stairs", 100)[-1, 1] < -1
    stopped = preset_character("walk-then-stop", 101)
    assert (stopped[60:] == stopped[60]).all()


def test_characters_are_read_from_files(tmp_path):
    track = np.random.default_rng(0).normal(size=(7, 3))
    np.save(tmp_path / "a.npy", track)
    assert (read_character(tmp_path / "a.npy") == track).all()
    (tmp_path / "b.csv").write_text("frame,z,y,x\n" + "".join(f"0,{z},{y},{x}\n" for x, y, z in track))
    assert np.allclose(read_character(tmp_path / "b.csv"), track)
    (tmp_path / "c.csv").write_text("1;2;3\n4;5;6\n")
    assert read_character(tmp_path / "c.csv").tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"x,y,z\n1,2,3\n1,2\n", "line 3 is not a position"),
        ("a.csv", b"", "no frame"),
        ("a.csv", b"1,2,inf\n", "frame 0 is not finite"),
        ("a.npy", b"no array", "cannot read it"),
        ("a.bvx", b"", "not a form of character"),
    ],
)
def test_bad_characters_are_said(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_character(tmp_path / name)


def test_a_pickled_array_is_not_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([object()], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="cannot read it"):
        read_character(tmp_path / "a.npy")


@given(arrays(np.float64, 3, elements=st.floats(-1, 1)).filter(lambda v: np.linalg.norm(v) > 1e-3))
def test_looking_along_a_direction_is_a_level_rotation(forward):
    rotation = rotation_looking(forward)
    assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert np.allclose(rotation[:, 2], forward / np.linalg.norm(forward))
    assert abs(rotation[1, 0]) < 1e-6 or np.abs(forward[[0, 2]]).max() < 1e-3
