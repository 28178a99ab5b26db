"""What a file does not say is said beside it, and what gets lost is told."""

import numpy as np
import pytest
from tests.camera.test_formats import some

from melies.camera.convert import ConvertSettings, at_rate, convert_path
from melies.camera.formats import FORMATS, read_path, write_path
from melies.camera.path import CameraPath, at_frame_rate
from melies.errors import UserError
from melies.geometry import exp_rotation, pose_of


def test_axes_and_units_are_as_they_are_said(tmp_path):
    path = some(zoom=False)
    file = write_path(path, tmp_path / "path", "tum")
    there = ConvertSettings(to_camera="opengl", to_world="z-up", to_unit=0.01)
    convert_path(file, tmp_path / "there.tum", there)
    strange = read_path(tmp_path / "there.tum", FORMATS["tum"])
    # Right, forward and up in centimetres.
    assert np.allclose(strange.position, 100 * path.position[:, [0, 2, 1]] * [1, 1, -1])
    back = ConvertSettings(from_camera="opengl", from_world="z-up", from_unit=0.01)
    convert_path(tmp_path / "there.tum", tmp_path / "back.tum", back)
    again = read_path(tmp_path / "back.tum", FORMATS["tum"])
    assert np.allclose(again.world_from_camera, path.world_from_camera)


def test_a_frame_rate_is_made_between_frames():
    turn = exp_rotation(np.outer(np.arange(5) * 0.1, [0, 1.0, 0]))
    path = at_frame_rate(pose_of(turn, np.outer(np.arange(5), [1.0, 0, 0])), 10.0)
    twice = at_rate(path, 20.0)
    assert len(twice) == 9
    assert np.allclose(twice.position[:, 0], np.arange(9) / 2)
    expected = exp_rotation(np.outer(np.arange(9) * 0.05, [0, 1.0, 0]))
    assert np.allclose(twice.world_from_camera[:, :3, :3], expected)
    assert np.allclose(at_rate(path, 10.0).world_from_camera, path.world_from_camera)
    assert len(at_rate(at_frame_rate(np.eye(4)[None], 10.0), 60.0)) == 1
    with pytest.raises(UserError, match="at most"):
        at_rate(path, 1e9)


def test_a_lens_is_given_where_none_is_known(tmp_path):
    file = write_path(some(), tmp_path / "path", "kitti")
    done = convert_path(file, tmp_path / "path.csv", ConvertSettings(fov=90.0, aspect=2.0, fps=30.0))
    path = read_path(done.file, FORMATS["csv"])
    assert np.allclose(path.lens, (0.25, 0.5, 0.5, 0.5))
    assert path.aspect == 2
    assert path.fps == pytest.approx(30)
    assert done.notes == ("path.txt says no times: 30 frames a second are assumed",)


def test_a_wider_picture_keeps_its_view_from_top_to_bottom(tmp_path):
    path = some(zoom=False)
    file = write_path(path, tmp_path / "path", "csv")
    convert_path(file, tmp_path / "wide.csv", ConvertSettings(aspect=2.39))
    wide = read_path(tmp_path / "wide.csv", FORMATS["csv"])
    assert np.allclose(wide.lens[:, 1], path.lens[:, 1])
    assert np.allclose(wide.lens[:, 0], path.lens[:, 1] / 2.39)


def test_what_gets_lost_is_told(tmp_path):
    path = some()
    uneven = CameraPath(
        world_from_camera=path.world_from_camera,
        times=path.times**1.5,
        lens=path.lens + np.array([0, 0, 0.1, 0]),
        aspect=path.aspect,
    )
    file = write_path(uneven, tmp_path / "path", "csv")

    def notes(target, **settings):
        return " ".join(convert_path(file, tmp_path / target, ConvertSettings(**settings)).notes)

    assert "says no times" in notes("a.txt")
    assert "says none" in notes("a.tum")
    said = notes("a.json", to_format="nerfstudio-path")
    assert "not even" in said
    assert "centre of the lens" in said
    assert notes("b.csv") == ""


def test_a_lens_that_is_assumed_is_told(tmp_path):
    file = write_path(some(), tmp_path / "path", "tum")
    done = convert_path(file, tmp_path / "path.py", ConvertSettings())
    assert "no lens is known: 39.6° from top to bottom" in done.notes[0]


@pytest.mark.parametrize(
    ("target", "settings", "message"),
    [
        ("path.txt", {}, "is there already"),
        ("path.xyz", {}, "no format that is known"),
        ("path.tum", {"from_camera": "openGL"}, None),
        ("a.usda", {"to_unit": 0.01}, "--to-unit: its unit cannot be other"),
        ("a.tum", {"to_camera": "unity"}, "left-handed"),
        ("a.tum", {"from_format": "blender"}, "only written"),
        ("a.tum", {"from_format": "tum"}, "line 1 has 12 numbers"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(target, settings, message, tmp_path):
    file = write_path(some(), tmp_path / "path", "kitti")
    before = file.read_bytes()
    with pytest.raises(UserError, match=message):
        convert_path(file, tmp_path / target, ConvertSettings(**settings))
    assert [one.name for one in tmp_path.iterdir()] == ["path.txt"]
    assert file.read_bytes() == before


def test_what_is_there_is_written_over_when_asked(tmp_path):
    file = write_path(some(), tmp_path / "path", "kitti")
    (tmp_path / "other.tum").write_text("old")
    convert_path(file, tmp_path / "other.tum", ConvertSettings(), overwrite=True)
    assert len(read_path(tmp_path / "other.tum", FORMATS["tum"])) == 12


@pytest.mark.parametrize(
    "bad", [{"fps": 0}, {"to_fps": float("nan")}, {"fov": 180}, {"aspect": 0}, {"from_unit": -1}]
)
def test_settings_are_checked(bad):
    with pytest.raises(UserError, match=next(iter(bad))):
        ConvertSettings(**bad)
