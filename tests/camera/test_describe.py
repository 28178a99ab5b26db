"""What is said of a path in a file."""

import json

import numpy as np
import pytest

from melies.camera.convert import at_rate
from melies.camera.dataset import labels_of
from melies.camera.describe import ReadSettings, describe_path, open_path, write_picture
from melies.camera.formats import write_path
from melies.camera.path import at_frame_rate
from melies.camera.synthesis import synthesize
from melies.errors import UserError


def test_a_path_made_by_rule_is_described_as_it_was_made():
    agree = []
    for shot in synthesize(40, seed=11):
        found = describe_path(at_frame_rate(shot.world_from_camera, 25.0), shot.character)
        agree.append((found.labels == labels_of(shot.camera_segments)).mean())
        assert found.segments[0].start == 0
        assert found.segments[-1].end == len(shot.character) - 1 == len(found.labels)
        assert found.caption.startswith(("The camera", "While", "As"))
    assert np.mean(agree) > 0.98


def test_another_frame_rate_gives_the_same_words():
    shot = next(synthesize(1, seed=4))
    path = at_frame_rate(shot.world_from_camera, 25.0)
    for fps in (12.5, 24.0, 60.0):
        other = describe_path(at_rate(path, fps))
        assert [one.label for one in other.segments] == [one.label for one in describe_path(path).segments]


def test_axes_and_units_are_heeded(tmp_path):
    shot = next(synthesize(1, seed=4))
    path = at_frame_rate(shot.world_from_camera, 25.0)
    file = write_path(path, tmp_path / "path", "kitti")
    plain = describe_path(open_path(file, ReadSettings()))
    tiny = describe_path(open_path(file, ReadSettings(unit=1e-4)))
    assert [one.label for one in tiny.segments] == [0]
    assert any(one.label for one in plain.segments)
    turned = open_path(file, ReadSettings(camera_axes="opengl", world_axes="opengl"))
    assert np.allclose(turned.position, path.position * [1, -1, -1])


@pytest.mark.parametrize("name", ["2011_F_EuMeT2wBo_00014_00001", "2011_MCkKihQrNA4_00014_00000"])
def test_the_labels_of_real_samples_are_those_that_are_published(shared_data, name):
    root = shared_data / "et_samples"
    found = describe_path(open_path(root / "traj" / f"{name}.txt", ReadSettings()))
    assert np.array_equal(found.labels, np.load(root / "cam_segments" / f"{name}.npy"))


def test_a_film_s_path_is_said_as_its_caption_has_it(shared_data):
    """DataDoP's path, in the axes that its files have."""
    root = shared_data / "gendop"
    found = describe_path(open_path(root / "case1_transforms_cleaning.json", ReadSettings()))
    told = json.loads((root / "case1_caption.json").read_text())["Movement"]
    assert told == (
        "The camera moves right while yawing left, then shifts right and forward, and finally remains static."
    )
    assert [one.label for one in found.segments] == [9, 10, 0]
    assert {"pan_left", "arc_right"} <= {one.name for one in found.motions}


def test_a_picture_is_drawn(tmp_path):
    shot = next(synthesize(1, seed=4))
    found = describe_path(at_frame_rate(shot.world_from_camera, 25.0), shot.character)
    assert write_picture(found, tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_bad_input_is_said(tmp_path):
    with pytest.raises(UserError, match="one frame does not move"):
        describe_path(at_frame_rate(np.eye(4)[None], 25.0))
    shot = next(synthesize(1, seed=4))
    with pytest.raises(UserError, match="a character of 3 frames"):
        describe_path(at_frame_rate(shot.world_from_camera, 25.0), np.zeros((3, 3)))
    with pytest.raises(UserError, match="camera-axes"):
        ReadSettings(camera_axes="opengll")
