"""Depth and normals against a scene whose every pixel is known."""

import json

import numpy as np
import pytest
import torch

from melies.errors import UserError
from melies.images.conditions import extract, open_extractor
from melies.images.conditions.normal import normals_from_inverse, normals_from_metric
from melies.images.conditions.stereo import disparity


def degrees_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos((a * b).sum(2).clip(-1, 1)))


def edge_of(ball: np.ndarray) -> np.ndarray:
    """Pixels whose neighbourhood lies on both surfaces."""
    import cv2

    wide = np.ones((7, 7), np.uint8)
    return cv2.dilate(ball.astype(np.uint8), wide) != cv2.erode(ball.astype(np.uint8), wide)


def seen_by_both(disparities: np.ndarray) -> np.ndarray:
    """Where the right view shows the same point: inside it, and not behind what is nearer."""
    x = np.arange(disparities.shape[1])[None, :] - disparities
    hidden = (np.abs(x[:, :, None] - x[:, None, :]) < 2) & (
        disparities[:, None, :] > disparities[:, :, None] + 2
    )
    return (x >= 3) & ~hidden.any(2)


def test_stereo_measures_the_depth_of_the_scene(scene):
    found = disparity(scene.left, scene.right)
    truth = scene.focal_px * scene.baseline_m / scene.depth_m
    seen = seen_by_both(truth) & ~edge_of(scene.ball)
    known = (found > 0) & seen
    assert known.sum() > 0.95 * seen.sum()
    error = np.abs(found - truth)[known]
    assert np.median(error) < 0.25
    assert (error < 1).mean() > 0.95


def test_two_views_side_by_side_become_a_hint_of_one(scene):
    views = np.concatenate([scene.left, scene.right], axis=1)
    hint = extract("stereo", torch.from_numpy(views).permute(2, 0, 1)[None])
    assert hint.shape == (1, 1, 128, 128)
    on_ball, on_wall = hint[0, 0][scene.ball].float(), hint[0, 0, :, 20:][~scene.ball[:, 20:]].float()
    assert on_ball.median() > on_wall.median() + 80  # near is white
    with pytest.raises(UserError, match="no two views"):
        extract("stereo", torch.zeros(1, 3, 64, 63, dtype=torch.uint8))


def test_normals_of_metric_depth_are_those_of_the_scene(scene):
    found = normals_from_metric(scene.depth_m, scene.focal_px)
    np.testing.assert_allclose(np.linalg.norm(found, axis=2), 1, atol=1e-5)
    angle = degrees_between(found, scene.normals)[~edge_of(scene.ball)]
    assert np.median(angle) < 0.2
    assert np.quantile(angle, 0.95) < 2


def test_normals_of_inverse_depth_turn_the_way_of_the_scene(scene):
    """The formula of ControlNet knows no scale: which side faces where is all it tells."""
    found = normals_from_inverse(1 / scene.depth_m)
    top, left = found[34, 64], found[64, 34]
    assert scene.ball[32, 64]
    assert scene.ball[64, 32]
    assert top[1] > 0.01 > 10 * abs(top[0])  # the top of a ball faces up
    assert left[0] > 0.01 > 10 * abs(left[1])  # its left side faces left
    assert found[64, 64, 2] > 0.99  # its middle faces the viewer
    flat = normals_from_inverse(np.ones((8, 8), np.float32))
    np.testing.assert_allclose(flat, np.broadcast_to([0, 0, 1], flat.shape), atol=1e-6)


def test_normal_maps_are_coloured_red_left_green_up_blue_to_the_viewer(scene):
    near = 1 / scene.depth_m
    levels = ((near - near.min()) / (near.max() - near.min()) * 255).astype(np.uint8)
    hint = extract("normal-from-depth", torch.from_numpy(levels).expand(1, 3, -1, -1))[0].float()
    assert hint[2].min() > 127  # everything that is seen faces the viewer
    assert hint[0, 64, 34] > 128 > 126 > hint[0, 64, 93]
    assert hint[1, 34, 64] > 128 > 126 > hint[1, 93, 64]


@pytest.fixture(scope="module")
def depth_model(tmp_path_factory):
    """A tiny Depth Anything with made-up weights, as a folder."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    folder = tmp_path_factory.mktemp("models") / "depth"
    backbone = Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        patch_size=14,
        image_size=56,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        patch_size=14,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=8,
        head_hidden_size=4,
    )
    torch.manual_seed(0)
    DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_mean": [0.485, 0.456, 0.406],
                "image_std": [0.229, 0.224, 0.225],
                "size": {"height": 56, "width": 56},
                "ensure_multiple_of": 14,
            }
        )
    )
    return folder


def test_a_depth_model_of_transformers_is_loaded_and_drawn_near_in_white(depth_model):
    pixels = torch.randint(0, 256, (2, 3, 48, 72), dtype=torch.uint8)
    depth = extract("depth", pixels, weights=depth_model)
    assert depth.shape == (2, 1, 48, 72)
    assert (int(depth.min()), int(depth.max())) == (0, 255)
    normal = extract("normal", pixels, weights=depth_model)
    assert normal.shape == (2, 3, 48, 72)
    torch.testing.assert_close(
        open_extractor("depth", weights=depth_model)(pixels[1:]), depth[1:], rtol=0, atol=0
    )


def test_damaged_weights_of_depth_are_refused(tmp_path, depth_model):
    with pytest.raises(UserError, match="no such file or folder"):
        open_extractor("depth", weights=tmp_path / "nowhere")
    with pytest.raises(UserError, match="a folder is needed"):
        open_extractor("depth", weights=depth_model / "config.json")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be loaded"):
        open_extractor("depth", weights=tmp_path)
