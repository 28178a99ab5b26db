"""People whose joints are drawn from known places are found there again."""

import numpy as np
import pytest

from melies.camera.lift import SHARES, STATURE, find_scale, lift_hips
from melies.geometry import exp_rotation, pose_of
from melies.video.pose import POINTS, Pose

LENS = np.array([0.8, 0.8 * 16 / 9, 0.5, 0.5])
SIZE = (640, 360)


def person(hips: np.ndarray) -> np.ndarray:
    """Joints (18, 3) of somebody who stands with their arms down, in metres, y down."""
    at = {name: np.zeros(3) for name in POINTS}
    for side, x in (("right", -0.12), ("left", 0.12)):
        at[f"{side} hip"] = np.array([x, 0, 0])
        at[f"{side} knee"] = at[f"{side} hip"] + [0, SHARES["thigh"] * STATURE, 0]
        at[f"{side} ankle"] = at[f"{side} knee"] + [0, SHARES["shank"] * STATURE, 0]
        at[f"{side} shoulder"] = np.array([x, -SHARES["trunk"] * STATURE, 0])
        at[f"{side} elbow"] = at[f"{side} shoulder"] + [0, SHARES["upper arm"] * STATURE, 0]
        at[f"{side} wrist"] = at[f"{side} elbow"] + [0, SHARES["forearm"] * STATURE, 0]
    return np.stack([at[name] for name in POINTS]) + hips


def seen(points: np.ndarray) -> np.ndarray:
    return points[:, :2] / points[:, 2:] * (LENS[:2] * SIZE) + LENS[2:] * SIZE - 0.5


def pose_at(hips: np.ndarray) -> Pose:
    return Pose(np.concatenate([seen(person(hips)), np.ones((18, 1))], axis=1).astype(np.float32))


@pytest.mark.parametrize("hips", [(0.0, 0.1, 4.0), (1.5, -0.3, 6.0), (-0.8, 0.0, 2.5)])
def test_somebody_who_stands_is_found_where_they_are(hips):
    found = lift_hips([pose_at(np.array(hips))], LENS, SIZE)
    assert found[0] == pytest.approx(hips, rel=1e-4, abs=1e-4)


def test_a_bent_limb_does_not_put_somebody_farther():
    points = person(np.array([0.0, 0.0, 4.0]))
    points[POINTS.index("right knee")] += [0, -0.2, -0.3]
    pose = Pose(np.concatenate([seen(points), np.ones((18, 1))], axis=1).astype(np.float32))
    assert lift_hips([pose], LENS, SIZE)[0, 2] == pytest.approx(4.0, rel=0.02)


def test_who_is_not_seen_is_nowhere():
    hidden = pose_at(np.array([0.0, 0.0, 4.0]))
    hidden.points[POINTS.index("left hip"), 2] = 0.1
    few = Pose(np.zeros((18, 3), np.float32))
    few.points[[POINTS.index("right hip"), POINTS.index("left hip")], 2] = 1
    assert np.isnan(lift_hips([None, hidden, few], LENS, SIZE)).all()


def test_the_ground_beside_the_feet_says_how_long_a_unit_is():
    rng = np.random.default_rng(0)
    true = 2.5
    cameras = pose_of(exp_rotation(np.zeros((8, 3))), np.stack([[0.1 * i, 0, 0] for i in range(8)]))
    hips_world = np.array([0.3, 0.1, 5.0])
    poses, hips = [], np.zeros((8, 3))
    for row, camera in enumerate(cameras):
        hips[row] = hips_world - camera[:3, 3]
        poses.append(pose_at(hips[row]))
    ground = hips_world[1] + 0.491 * STATURE
    floor = np.stack([rng.uniform(-3, 3, 3000), np.full(3000, ground), rng.uniform(3, 9, 3000)], axis=1)
    ours = cameras.copy()
    ours[:, :3, 3] /= true
    scale = find_scale(hips, poses, ours, floor / true, LENS, SIZE)
    assert scale.how == "feet"
    assert scale.metres == pytest.approx(true, rel=0.1)
    far = find_scale(hips, poses, ours, np.zeros((0, 3)), LENS, SIZE)
    assert far == (1.0, "guess")
