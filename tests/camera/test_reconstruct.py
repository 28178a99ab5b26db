"""Where a camera was, of pictures that are drawn of two walls from known places."""

import numpy as np
import pytest

from melies.camera.reconstruct import ReconstructionConfig, fit_rotation, reconstruct
from melies.errors import UserError
from melies.geometry import exp_rotation, log_rotation

cv2 = pytest.importorskip("cv2")
SIZE = (320, 240)
FOCAL = 280.0


def wall(seed: int, side: int = 700) -> np.ndarray:
    """A texture with corners of several sizes."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((side, side, 3), np.float32)
    for cells in (20, 50, 140):
        picture += cv2.resize(
            rng.uniform(0, 85, (cells, cells, 3)).astype(np.float32),
            (side, side),
            interpolation=cv2.INTER_NEAREST,
        )
    return picture.astype(np.uint8)


BACK, FRONT = wall(0), wall(1)


def seen_from(rotation: np.ndarray, position: np.ndarray) -> np.ndarray:
    """A wall of 14 m, 6 m away, before which another of 2 m stands, 3 m away and to the left."""
    camera = np.array([[FOCAL, 0, (SIZE[0] - 1) / 2], [0, FOCAL, (SIZE[1] - 1) / 2], [0, 0, 1]])
    picture = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    for texture, side, centre in ((BACK, 14.0, (0, 0, 6.0)), (FRONT, 2.0, (-0.8, 0.1, 3.0))):
        scale = side / texture.shape[0]
        plane = np.array(
            [[scale, 0, centre[0] - side / 2], [0, scale, centre[1] - side / 2], [0, 0, centre[2]]]
        )
        to_camera = rotation.T @ (plane - np.outer(position, [0, 0, 1]))
        shape = camera @ to_camera
        mask = cv2.warpPerspective(np.full(texture.shape[:2], 255, np.uint8), shape, SIZE)
        drawn = cv2.warpPerspective(texture, shape, SIZE, flags=cv2.INTER_AREA)
        picture[mask > 127] = drawn[mask > 127]
    return picture


def film(count: int, yaw: float, way: tuple[float, float, float]):
    """Pictures, rotations and positions of a camera that turns and goes along a curve."""
    share = np.linspace(0, 1, count)
    rotations = exp_rotation(np.outer(share, [0.0, yaw, 0.0]))
    positions = np.outer(share, way) + np.outer(np.sin(np.pi * share), [0, 0.3 * np.linalg.norm(way), 0])
    return [seen_from(r, p) for r, p in zip(rotations, positions, strict=True)], rotations, positions


def test_a_rotation_is_found_among_half_of_wrong_points():
    rng = np.random.default_rng(0)
    turn = exp_rotation(np.array([0.1, -0.3, 0.05]))
    after = rng.normal(size=(200, 3))
    after /= np.linalg.norm(after, axis=1, keepdims=True)
    before = after @ turn.T
    before[:90] = rng.permutation(before[:90])
    found, share = fit_rotation(np.stack([before, after], axis=1), 0.01)
    assert found == pytest.approx(turn, abs=1e-6)
    assert share == pytest.approx(0.55, abs=0.03)


def test_a_camera_that_stands_still_stands_still():
    pictures, _, _ = film(12, 0.0, (0, 0, 0))
    noisy = [
        np.clip(one + np.random.default_rng(i).normal(0, 3, one.shape), 0, 255).astype(np.uint8)
        for i, one in enumerate(pictures)
    ]
    found = reconstruct(noisy, ReconstructionConfig())
    assert found.kind == "still"
    assert (found.world_from_camera == np.eye(4)).all()
    assert len(found.world_from_camera) == 12


def test_somebody_who_moves_is_not_taken_for_the_camera():
    """Most of the picture goes to the left; where somebody is, it is not looked at."""
    pictures, _, _ = film(12, 0.0, (0, 0, 0))
    moving, _, _ = film(12, 0.6, (0, 0, 0))
    crowded = []
    for here, there in zip(pictures, moving, strict=True):
        both = here.copy()
        both[:, 40:280] = there[:, 40:280]
        crowded.append(both)
    assert reconstruct(crowded[:6], ReconstructionConfig(turning_share=0.3)).kind != "still"
    box = (40 / 320, 0.0, 280 / 320, 1.0)
    assert reconstruct(crowded, ReconstructionConfig(), without=[box] * 12).kind == "still"


def test_a_camera_on_a_tripod_turns():
    pictures, rotations, _ = film(30, 0.5, (0, 0, 0))
    found = reconstruct(pictures, ReconstructionConfig(keyframes=15, focal=FOCAL / SIZE[0]))
    assert found.kind == "turning"
    wrong = np.linalg.norm(
        log_rotation(np.swapaxes(rotations, 1, 2) @ found.world_from_camera[:, :3, :3]), axis=1
    )
    assert np.rad2deg(wrong).max() < 0.5
    assert (found.world_from_camera[:, :3, 3] == 0).all()


def test_a_camera_that_moves_is_placed_by_colmap():
    pytest.importorskip("pycolmap")
    pictures, rotations, positions = film(33, 0.15, (1.6, 0.0, 0.5))
    found = reconstruct(pictures, ReconstructionConfig(keyframes=17))
    assert found.kind == "moving"
    assert len(found.points) > 100
    n = len(found.world_from_camera)
    assert n >= 29
    true = positions[found.start : found.start + n] - positions[found.start]
    ours = found.world_from_camera[:, :3, 3]
    scale = (true * ours).sum() / np.square(ours).sum()
    assert np.abs(scale * ours - true).max() < 0.03 * np.linalg.norm(true[-1])
    turned = np.swapaxes(rotations[found.start : found.start + n], 1, 2) @ found.world_from_camera[:, :3, :3]
    assert np.rad2deg(np.linalg.norm(log_rotation(turned), axis=1)).max() < 1.0
    assert found.lens[0] == pytest.approx(FOCAL / SIZE[0], rel=0.1)


def test_what_cannot_be_followed_is_refused():
    with pytest.raises(UserError, match="too few"):
        reconstruct([np.zeros((24, 32, 3), np.uint8)], ReconstructionConfig())
    rng = np.random.default_rng(0)
    cuts = [rng.integers(0, 255, (60, 80, 3), dtype=np.uint8) for _ in range(8)]
    with pytest.raises(UserError, match=r"points|COLMAP places"):
        reconstruct(cuts, ReconstructionConfig())
