"""Paths come back from every format, through every other, and what is no path is said to be none."""

import ast
import itertools
import json
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from melies.camera.character import read_character
from melies.camera.formats import FORMATS, find_format, read_path, write_as, write_path
from melies.camera.formats.axes import AXES, from_axes, into_axes
from melies.camera.formats.unreal import roll_pitch_yaw
from melies.camera.path import CameraPath, at_frame_rate, lens_of
from melies.errors import UserError
from melies.geometry import (
    direction_of,
    exp_rotation,
    pose_of,
    quaternion_from_rotation,
    rotation_from_quaternion,
    rotation_looking,
)

READABLE = [name for name, kind in FORMATS.items() if kind.read and kind.write]
NEEDS = {"usd": "pxr", "usdc": "pxr", "gltf": "pygltflib", "rerun": "rerun"}


def available(name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])


def some(frames=12, seed=0, *, zoom=True):
    """A path with everything that a format can carry."""
    rng = np.random.default_rng(seed)
    rotation = exp_rotation(rng.normal(size=(frames, 3)))
    fy = np.full(frames, 1.2) + (0.05 * np.arange(frames) if zoom else 0)
    lens = np.stack([fy * 9 / 16, fy, np.full(frames, 0.5), np.full(frames, 0.5)], axis=1)
    return at_frame_rate(pose_of(rotation, rng.normal(size=(frames, 3))), 24.0, lens=lens, aspect=16 / 9)


def assert_same(path, again, fields=frozenset()):
    assert np.allclose(again.world_from_camera, path.world_from_camera, atol=1e-5)
    if fields & {"times", "rate"}:
        assert np.allclose(again.times, path.times, atol=1e-5)
    if fields & {"lens", "fov"}:
        assert again.lens is not None
        assert np.allclose(again.lens, path.lens, atol=1e-5)
    if "aspect" in fields:
        assert again.aspect == pytest.approx(path.aspect, abs=1e-5)


@pytest.mark.parametrize(("first", "second"), list(itertools.product(READABLE, READABLE)))
def test_every_pair_of_formats_carries_what_both_say(first, second, tmp_path):
    available(first)
    available(second)
    path = some()
    one = write_path(path, tmp_path / "one", first)
    read = read_path(one, FORMATS[first], 24.0)
    two = write_path(read, tmp_path / "two", second)
    both = FORMATS[first].carries & FORMATS[second].carries
    for rate, kinds in (({"times", "rate"}, (first, second)), ({"lens", "fov"}, (first, second))):
        if all(FORMATS[kind].carries & rate for kind in kinds):
            both = both | rate
    assert_same(path, read_path(two, FORMATS[second], 24.0), both)


@pytest.mark.parametrize("name", READABLE)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 9), far=st.floats(0.01, 50), fps=st.floats(1, 240))
def test_any_path_comes_back(name, seed, frames, far, fps, tmp_path):
    available(name)
    path = some(frames, seed)
    poses = path.world_from_camera.copy()
    poses[:, :3, 3] *= far
    path = at_frame_rate(poses, fps, lens=path.lens, aspect=path.aspect)
    file = write_path(path, tmp_path / "path", name)
    again = read_path(file, FORMATS[name], fps)
    assert np.allclose(again.world_from_camera[:, :3, :3], poses[:, :3, :3], atol=1e-5)
    assert np.allclose(again.position, poses[:, :3, 3], atol=1e-5 * max(1.0, far))
    if FORMATS[name].carries & {"times"}:
        assert np.allclose(again.times, path.times, atol=1e-5)


@pytest.mark.parametrize("name", READABLE)
def test_a_format_is_known_by_its_file(name, tmp_path):
    available(name)
    file = write_path(some(), tmp_path / "a.b-7", name)
    assert file.name == f"a.b-7{FORMATS[name].suffix}"
    assert find_format(file) is FORMATS[name]
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("name", ["csv", "usd", "rerun", "realestate10k"])
def test_times_that_are_not_even_come_back(name, tmp_path):
    available(name)
    path = some()
    times = np.cumsum(np.random.default_rng(1).uniform(0.02, 0.4, size=len(path)))
    path = CameraPath(world_from_camera=path.world_from_camera, times=times, lens=path.lens, aspect=16 / 9)
    again = read_path(write_path(path, tmp_path / "path", name), FORMATS[name])
    assert np.allclose(again.times, times, atol=1e-5)


@pytest.mark.parametrize("name", ["csv", "realestate10k", "colmap", "nerfstudio", "usd", "rerun"])
def test_the_centre_of_a_lens_comes_back(name, tmp_path):
    available(name)
    path = some(zoom=False)
    lens = path.lens + np.array([0, 0, 0.07, -0.04])
    path = CameraPath(world_from_camera=path.world_from_camera, times=path.times, lens=lens, aspect=16 / 9)
    again = read_path(write_path(path, tmp_path / "path", name), FORMATS[name], 24.0)
    assert np.allclose(again.lens, lens, atol=1e-5)


@pytest.mark.parametrize("name", READABLE)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.text(max_size=80), st.binary(max_size=80)))
@example(text="{}")
@example(text="[]")
@example(text='{"frames": [{}]}')
@example(text='{"frames": [{"transform_matrix": [[1e999]]}]}')
@example(text='{"camera_path": [{"camera_to_world": "x", "fov": []}]}')
@example(text='{"asset": {"version": "2.0"}, "nodes": [{"camera": 0, "children": [0]}]}')
@example(text="[" * 5000)
@example(text="1 0 0 0 0 0 0 0\n2 0 0 0 0 0 0 0")
@example(text="time,x,y,z,qx,qy,qz,qw\n0,0,0,0,0,0,0,0")
@example(text='#usda 1.0\ndef Camera "C"\n{\n}\n')
def test_nothing_is_read_but_as_a_path_or_an_error_of_ours(name, text, tmp_path):
    available(name)
    file = tmp_path / f"path{FORMATS[name].suffix}"
    if name == "colmap":
        file.mkdir(exist_ok=True)
        (file / "cameras.txt").write_text("1 PINHOLE 640 480 500 500 320 240\n")
        target = file / "images.txt"
    else:
        target = file
    target.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", errors="surrogatepass"))
    error, path = None, None
    try:
        path = read_path(file, FORMATS[name])
    except UserError as found:
        error = found
    if path is None:
        assert error is not None
        assert error.where
    else:
        assert np.isfinite(path.world_from_camera).all()


ROWS = "1 0 0 0 0 1 0 0 0 0 1 0\n"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("a.txt", "1 2 3\n", "line 1 has 3 numbers, not 12"),
        ("a.txt", f"# a\n\n{ROWS}1 2\n", "line 4 has 2 numbers"),
        ("a.txt", "1 0 0 x 0 1 0 0 0 0 1 0\n", "line 1 is not all numbers"),
        ("a.txt", "", "no pose"),
        ("a.txt", "1 0 0 nan 0 1 0 0 0 0 1 0\n", "not finite at frame 0"),
        ("a.txt", "1 0 0 0 0 1 0 0 0 0 2 0\n", "not orthonormal at frame 0"),
        ("a.tum", "0 0 0 0 0 0 0 1\n0 0 0 0 0 0 0 1\n", "does not go on at frame 1"),
        ("a.csv", "time,x,y\n0,0,0\n", "the header has no z, qx"),
        ("a.csv", "time,x,y,z,qx,qy,qz,qw\n0,0,0,0,0,0,0,1\n1,0\n", "line 3 does not have a number"),
        ("a.json", "{", "no JSON: line 1"),
        ("a.json", '{"frames": [{"transform_matrix": [[1]]}]}', r"frames\[0\].transform_matrix: not 4 × 4"),
        ("a.json", '{"camera_path": [{"camera_to_world": 1, "fov": 200}]}', r"camera_path\[0\]"),
        ("a.json", '{"other": 1}', "no list of poses in 'frames'"),
        ("a.json", "[[1, 2]]", r"\[0\]: not 12 numbers"),
        ("a.obj", "", "'.obj' is no format|.obj is no format"),
        ("none.usda", None, "no such file"),
    ],
)
def test_what_is_wrong_is_said_and_where(file, text, message, tmp_path):
    if file.endswith(".usda"):
        available("usd")
    target = tmp_path / file
    if text is not None:
        target.write_text(text)
    with pytest.raises(UserError, match=message):
        read_path(target, find_format(target))


def test_a_format_that_is_only_written_is_not_read(tmp_path):
    file = write_path(some(), tmp_path / "path", "blender")
    with pytest.raises(UserError, match="only written"):
        read_path(file, FORMATS["blender"])


def test_lenses_that_are_not_known_are_those_of_et():
    lens, aspect = lens_of(at_frame_rate(np.eye(4)[None], 25.0))
    assert aspect == 16 / 9
    # fx = fy = (width + height)/2 pixels
    assert lens[0] == pytest.approx(((16 + 9) / 2 / 16, (16 + 9) / 2 / 9, 0.5, 0.5))


@pytest.mark.parametrize("world", AXES)
@pytest.mark.parametrize("camera", AXES)
def test_axes_of_one_hand_come_back_and_those_of_two_are_refused(camera, world):
    poses = some().world_from_camera
    hands = [np.linalg.det(np.array(AXES[name])) for name in (camera, world)]
    if hands[0] != hands[1]:
        with pytest.raises(UserError, match="left-handed"):
            into_axes(poses, camera=camera, world=world)
        return
    there = into_axes(poses, camera=camera, world=world, unit=0.01)
    assert np.allclose(np.linalg.det(there[:, :3, :3]), 1)
    assert np.allclose(from_axes(there, camera=camera, world=world, unit=0.01), poses)


def looking(yaw, pitch):
    return rotation_looking(direction_of(np.deg2rad(yaw), np.deg2rad(pitch)))


def test_what_is_up_is_up_everywhere():
    """A camera two metres up that looks forward and a little down, one metre to the right."""
    pose = pose_of(looking(0, -10), np.array([1.0, -2.0, 0.0]))[None]
    for world, up, right in (("opengl", (0, 1, 0), (1, 0, 0)), ("z-up", (0, 0, 1), (1, 0, 0))):
        there = into_axes(pose, camera="opengl", world=world)[0]
        assert there[:3, 3] @ up == pytest.approx(2)
        assert there[:3, 3] @ right == pytest.approx(1)
        assert -there[:3, 2] @ up == pytest.approx(np.sin(np.deg2rad(-10)))  # it looks along −z
        assert there[:3, 1] @ up > 0.9  # its y axis is up
    there = into_axes(pose, camera="unreal", world="unreal", unit=0.01)[0]
    assert there[:3, 3] == pytest.approx((0, 100, 200))
    assert there[:3, 0] == pytest.approx((np.cos(np.deg2rad(10)), 0, -np.sin(np.deg2rad(10))))


def data_of(text):
    """The path in a script for another program, which is itself valid Python."""
    ast.parse(text)
    return json.loads(re.search(r'json\.loads\("""(.*?)"""\)', text, re.DOTALL).group(1))


def test_blender_is_told_the_path(tmp_path):
    path = some()
    data = data_of(write_path(path, tmp_path / "path", "blender").read_text())
    rotation = rotation_from_quaternion(np.roll(np.array(data["rotation_quaternion"]), -1, axis=1))
    there = pose_of(rotation, np.array(data["location"]))
    back = from_axes(there, camera="opengl", world="z-up")
    assert np.allclose(back, path.world_from_camera, atol=1e-9)
    assert data["frames"] == pytest.approx(list(range(1, 13)))
    assert data["fps"] == pytest.approx(24)
    # The focal length on a film of that width gives the same view from side to side.
    assert np.allclose(np.array(data["lens"]) / data["sensor_width"], path.lens[:, 0])
    quaternion = np.array(data["rotation_quaternion"])
    assert ((quaternion[1:] * quaternion[:-1]).sum(1) >= 0).all()


def unreal_rotation(roll, pitch, yaw):
    """FRotationMatrix of Unreal: its axes X, Y and Z as columns."""
    sr, cr = np.sin(np.deg2rad(roll)), np.cos(np.deg2rad(roll))
    sp, cp = np.sin(np.deg2rad(pitch)), np.cos(np.deg2rad(pitch))
    sy, cy = np.sin(np.deg2rad(yaw)), np.cos(np.deg2rad(yaw))
    x = (cp * cy, cp * sy, sp)
    y = (sr * sp * cy - cr * sy, sr * sp * sy + cr * cy, -sr * cp)
    z = (-(cr * sp * cy + sr * sy), cy * sr - cr * sp * sy, cr * cp)
    return np.stack([x, y, z], axis=-1)


def test_unreal_is_told_the_path(tmp_path):
    path = some()
    data = data_of(write_path(path, tmp_path / "path", "unreal").read_text())
    rotation = np.stack([unreal_rotation(*angles) for angles in np.array(data["rotation"]).T])
    there = pose_of(rotation, np.array(data["location"]).T)
    back = from_axes(there, camera="unreal", world="unreal", unit=0.01)
    assert np.allclose(back, path.world_from_camera, atol=1e-9)
    assert np.allclose(np.array(data["focal_length"]) / data["sensor_width"], path.lens[:, 0])
    assert data["sensor_width"] / data["sensor_height"] == pytest.approx(16 / 9)
    assert (data["fps_numerator"], data["fps_denominator"]) == (24, 1)


def test_unreal_s_angles_do_not_jump():
    yaws = np.arange(0, 720, 30)
    rotation = into_axes(
        np.stack([pose_of(looking(yaw, 20), np.zeros(3)) for yaw in yaws]), camera="unreal", world="unreal"
    )[:, :3, :3]
    angles = roll_pitch_yaw(rotation)
    assert np.allclose(angles[:, 2], yaws)
    assert np.allclose(angles[:, 1], 20)
    assert np.allclose(angles[:, 0], 0, atol=1e-9)


def test_a_stage_s_units_and_upward_axis_are_heeded(tmp_path):
    available("usd")
    from pxr import Gf, Usd, UsdGeom

    stage = Usd.Stage.CreateNew(str(tmp_path / "stage.usda"))
    UsdGeom.SetStageMetersPerUnit(stage, 0.001)
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    rig = UsdGeom.Xform.Define(stage, "/Rig")
    rig.AddTranslateOp().Set(Gf.Vec3d(0, 0, 1000))
    rig.AddScaleOp().Set(Gf.Vec3f(2, 2, 2))
    camera = UsdGeom.Camera.Define(stage, "/Rig/Camera")
    place = camera.AddTranslateOp()
    for code in (0, 10):
        place.Set(Gf.Vec3d(code * 10, 0, 0), code)
    stage.SetTimeCodesPerSecond(20)
    stage.Save()
    path = read_path(tmp_path / "stage.usda", FORMATS["usd"])
    assert np.allclose(path.times, (0, 0.5))
    # z up there is −y here; 1,000 mm up, and the scale of the rig acts on what hangs on it.
    assert np.allclose(path.position, ((0, -1, 0), (0.2, -1, 0)))
    # A camera of z up without rotation looks down.
    assert np.allclose(path.world_from_camera[0, :3, 2], (0, 1, 0))


def test_a_camera_that_hangs_on_a_node_is_read(tmp_path):
    available("gltf")
    import pygltflib

    file = write_as(some(3), tmp_path / "path.gltf", FORMATS["gltf"])
    document = pygltflib.GLTF2().load(str(file))
    document.nodes.append(pygltflib.Node(children=[0], translation=[0.0, 1.0, 0.0], scale=[2.0, 2.0, 2.0]))
    document.scenes[0].nodes = [1]
    document.save(str(tmp_path / "hung.gltf"))
    path, hung = (read_path(tmp_path / name, FORMATS["gltf"]) for name in ("path.gltf", "hung.gltf"))
    assert np.allclose(hung.position, 2 * path.position - [0, 1, 0], atol=1e-5)
    assert np.allclose(hung.world_from_camera[:, :3, :3], path.world_from_camera[:, :3, :3], atol=1e-5)


def test_a_recording_of_rerun_by_others_is_read(tmp_path):
    """Quaternions in place of matrices, and no timeline of ours."""
    available("rerun")
    import rerun as rr

    recording = rr.RecordingStream("other", recording_id="x")
    recording.save(str(tmp_path / "other.rrd"))
    for x in (0.0, 1.0):
        turned = rr.Quaternion(xyzw=[0, 0, 0, 1])
        recording.log("camera", rr.Transform3D(translation=[x, 0, 0], quaternion=turned))
    recording.disconnect()
    path = read_path(tmp_path / "other.rrd", FORMATS["rerun"], 10.0)
    assert path.lens is None
    assert path.position[-1] == pytest.approx((1, 0, 0))


def test_arrays_of_every_shape_are_read_and_others_refused(tmp_path):
    path = some(7)
    poses = path.world_from_camera
    seven = np.concatenate([path.position, quaternion_from_rotation(poses[:, :3, :3])], axis=1)
    for array in (poses, poses[:, :3], seven):
        np.save(tmp_path / "path.npy", array)
        assert_same(path, read_path(tmp_path / "path.npy", FORMATS["numpy"]))
    for wrong, message in (
        (np.zeros((4, 5)), "is no path"),
        (np.zeros((3, 7)), "length 0"),
        (np.array(["a"]), "of no kind"),
        (np.array([{}], dtype=object), "cannot read it"),
    ):
        np.save(tmp_path / "path.npy", wrong)
        with pytest.raises(UserError, match=message):
            read_path(tmp_path / "path.npy", FORMATS["numpy"])


def test_what_slahmr_saves_is_read_with_camera_lens_and_character(tmp_path):
    path = some(9)
    camera = np.linalg.inv(path.world_from_camera)
    trans = np.random.default_rng(1).normal(size=(2, 9, 3))
    file = tmp_path / "shot_world_results.npz"
    arrays = {
        "cam_R": np.tile(camera[:, :3, :3], (2, 1, 1, 1)).astype(np.float32),
        "cam_t": np.tile(camera[:, :3, 3], (2, 1, 1)).astype(np.float32),
        "intrins": np.array([700.0, 720.0, 320.0, 180.0]),
        "trans": trans,
    }
    np.savez(file, **arrays)
    read = read_path(file, find_format(file))
    assert_same(path, read)
    assert read.lens is not None
    assert read.lens[0] == pytest.approx([700 / 640, 2.0, 0.5, 0.5])
    assert read_character(file) == pytest.approx(trans[0])
    with pytest.raises(UserError, match="only read"):
        write_as(path, tmp_path / "path.npz", FORMATS["slahmr"])
    np.savez(file, cam_R=arrays["cam_R"])
    with pytest.raises(UserError, match="no cam_t"):
        read_path(file, FORMATS["slahmr"])
    with pytest.raises(UserError, match="no trans"):
        read_character(file)
    file.write_bytes(b"PK no archive")
    with pytest.raises(UserError, match="cannot read it"):
        read_path(file, FORMATS["slahmr"])


def test_a_header_that_says_more_than_is_there_asks_for_no_memory(tmp_path):
    np.save(tmp_path / "path.npy", np.zeros((4, 4, 4)))
    data = (tmp_path / "path.npy").read_bytes()
    head = data[:10] + data[10:128].replace(b"(4, 4, 4), }", b"(9999999999, 4, 4), }")[:118]
    (tmp_path / "path.npy").write_bytes(head + data[128:])
    with pytest.raises(UserError, match="more than is there"):
        read_path(tmp_path / "path.npy", FORMATS["numpy"])
