"""Key points, skeletons and OpenPose's files; BlazePose's geometry by hand, its networks where they are."""

import importlib
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from melies.errors import UserError
from melies.video.blazepose import Person, _square, anchors, open_blazepose
from melies.video.pose import POINTS, Pose, draw_poses, read_openpose, write_openpose

pytest.importorskip("cv2")


def standing(height: int = 200, width: int = 120) -> Pose:
    """A person with arms spread, seen from the front: their right is on our left."""
    at = {
        "nose": (60, 30), "neck": (60, 55), "right shoulder": (42, 56), "right elbow": (25, 75),
        "right wrist": (10, 92), "left shoulder": (78, 56), "left elbow": (95, 75), "left wrist": (110, 92),
        "right hip": (50, 110), "right knee": (48, 150), "right ankle": (46, 190), "left hip": (70, 110),
        "left knee": (72, 150), "left ankle": (74, 190), "right eye": (55, 25), "left eye": (65, 25),
        "right ear": (49, 28), "left ear": (71, 28),
    }  # fmt: skip
    return Pose(np.array([[*at[name], 1.0] for name in POINTS], np.float32))


def test_a_skeleton_has_the_colours_of_openpose_at_its_points():
    pose = standing()
    canvas = draw_poses([pose], 200, 120)
    assert canvas.shape == (200, 120, 3)
    for name, colour in {
        "nose": (255, 0, 0),
        "right wrist": (170, 255, 0),
        "left knee": (0, 0, 255),
    }.items():
        x, y, _ = pose.points[POINTS.index(name)]
        assert tuple(canvas[int(y), int(x)]) == colour
    assert tuple(canvas[130, 49]) == (0, 153, 51)  # the right thigh: 00ff55 at three fifths
    assert not canvas[:15].any()


def test_points_that_were_not_found_are_not_drawn():
    pose = standing()
    pose.points[POINTS.index("right wrist"), 2] = 0
    canvas = draw_poses([pose], 200, 120)
    assert not canvas[86:98, 5:15].any()
    assert not draw_poses([], 20, 30).any()


@pytest.mark.parity
def test_skeletons_are_those_of_controlnet_aux(monkeypatch):
    spec = find_spec("controlnet_aux")
    if spec is None:
        pytest.skip("controlnet_aux is not installed; see benchmarks/requirements.txt")
    root = next(iter(spec.submodule_search_locations))
    for name in ("controlnet_aux", "controlnet_aux.open_pose", "controlnet_aux.open_pose.body"):
        stub = ModuleType(name)  # what their packages import first, torchvision among it, does not draw
        stub.__path__ = [str(Path(root, *name.split(".")[1:]))]
        stub.BodyResult = stub.Keypoint = SimpleNamespace
        monkeypatch.setitem(sys.modules, name, stub)
    theirs = importlib.import_module("controlnet_aux.open_pose.util").draw_bodypose
    pose = standing()
    points = [SimpleNamespace(x=x / 120 + 1e-6, y=y / 200 + 1e-6) for x, y, _ in pose.points.tolist()]
    expected = theirs(np.zeros((200, 120, 3), np.uint8), points)
    differing = (draw_poses([pose], 200, 120) != expected).any(2).mean()
    assert differing < 0.002  # theirs computes in shares of the picture, and cuts fractions off


def test_openposes_files_are_read_as_they_are_written(tmp_path):
    path = tmp_path / "pose.json"
    path.write_text(write_openpose([standing(), standing()], 200, 120))
    poses, size = read_openpose(path)
    assert size == (200, 120)
    assert len(poses) == 2
    np.testing.assert_allclose(poses[1].points, standing().points)


def test_body_25_and_shares_of_the_picture_are_understood(tmp_path):
    points = standing().points / np.array([120, 200, 1], np.float32)
    wide = np.zeros((25, 3), np.float32)
    wide[list(range(8))] = points[:8]
    wide[8] = (0.5, 0.55, 1)  # the middle of the hips, which the 18 points have not
    wide[9:19] = points[8:]
    people = [{"pose_keypoints_2d": wide.reshape(-1).tolist()}]
    path = tmp_path / "pose.json"
    path.write_text(json.dumps([{"people": people, "canvas_height": 200, "canvas_width": 120}]))
    (pose,), _ = read_openpose(path)
    np.testing.assert_allclose(pose.points, standing().points, atol=1e-3)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ('{"persons": []}', "no list of people"),
        ('{"people": [{"pose_keypoints_2d": [1, 2]}]}', "person 1: .* no list"),
        ('{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}', "has 1 key points"),
        ('{"people": [], "canvas_height": 99999999, "canvas_width": 2}', "cannot be drawn"),
    ],
)
def test_files_that_are_no_poses_are_refused(tmp_path, content, said):
    path = tmp_path / "pose.json"
    path.write_text(content)
    with pytest.raises(UserError, match=said):
        read_openpose(path)


def test_anchors_lie_in_the_middle_of_their_cells():
    found = anchors()
    assert found.shape == (2254, 2)
    np.testing.assert_allclose(found[:2], [[4 / 224, 4 / 224]] * 2)
    np.testing.assert_allclose(found[2], [12 / 224, 4 / 224])
    np.testing.assert_allclose(found[-1], [208 / 224, 208 / 224])


@pytest.mark.parametrize("degrees", [0, 30, 90, 180, -135])
def test_a_person_stands_upright_in_the_square(degrees):
    turn = np.radians(degrees)
    up = np.array([np.sin(turn), -np.cos(turn)])
    centre, radius = np.array([50.0, 70.0]), 40.0
    square = _square(Person(centre, centre + radius * up), 256)
    np.testing.assert_allclose(square @ [128, 128, 1], centre, atol=1e-9)
    head = square @ [128, 128 - 128 / 1.25, 1]
    np.testing.assert_allclose(head, centre + radius * up, atol=1e-9)
    assert np.linalg.det(square[:, :2]) > 0  # turned, never mirrored


def test_files_without_the_networks_are_refused(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="the extra `offline` is not installed")
    with pytest.raises(UserError, match="holds no pose_detection"):
        open_blazepose(tmp_path)
    (tmp_path / "pose_detection.tflite").write_bytes(b"nothing")
    with pytest.raises(UserError, match="damaged"):
        open_blazepose(tmp_path)
    (tmp_path / "wheel.whl").write_bytes(b"no zip")
    with pytest.raises(UserError, match="cannot be read"):
        open_blazepose(tmp_path / "wheel.whl")


def test_a_person_is_found_in_a_photograph():
    """Needs ai-edge-litert, and in $MELIES_MEDIAPIPE the wheel; the photograph comes with matplotlib."""
    pytest.importorskip("ai_edge_litert", reason="the extra `offline` is not installed")
    files = os.environ.get("MELIES_MEDIAPIPE")
    if not files:
        pytest.skip("no model files; point $MELIES_MEDIAPIPE at the wheel of mediapipe 0.10.21")
    import matplotlib
    from PIL import Image

    photograph = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    picture = np.array(Image.open(photograph).convert("RGB"))  # 600 × 512
    find = open_blazepose(Path(files))
    (pose,) = find(picture)
    truth = {"nose": (263, 241), "right eye": (230, 190), "left eye": (305, 190), "left ear": (357, 190)}
    for name, (x, y) in truth.items():
        at = pose.points[POINTS.index(name)]
        assert at[2] > 0.9
        assert np.hypot(at[0] - x, at[1] - y) < 40
    assert pose.points[POINTS.index("left ankle"), 2] == 0  # outside the picture
    turned = find(np.ascontiguousarray(np.rot90(picture)))[0].points  # a point (x, y) goes to (y, w − 1 − x)
    nose, there = pose.points[0], turned[0]
    assert np.hypot(there[0] - nose[1], there[1] - (511 - nose[0])) < 15
    assert find(np.full((100, 200, 3), 200, np.uint8)) == []
