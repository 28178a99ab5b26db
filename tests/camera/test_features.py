"""Camera paths as features and back."""

import numpy as np
import pytest
import torch

from melies.camera.features import (
    CAMERA_STEPS,
    MIRROR,
    decode_path,
    encode_character,
    encode_path,
    fit_steps,
    translation_in,
)
from melies.camera.synthesis import synthesize
from melies.geometry import camera_steps, rotation_from_six, six_from_rotation
from melies.transform import transform_from_json


def some(count=6):
    return [torch.from_numpy(shot.world_from_camera) for shot in synthesize(count, seed=0)]


@pytest.mark.parametrize("axes", ["world", "camera"])
def test_paths_come_back(axes):
    for path in some():
        x0 = encode_path(path[None], CAMERA_STEPS, axes=axes)
        assert x0.shape == (1, 9, len(path))
        assert torch.allclose(decode_path(x0, CAMERA_STEPS, axes=axes)[0], path, atol=1e-9)


def test_steps_in_the_axes_of_the_camera_are_what_the_tagger_looks_at():
    path = some(1)[0]
    own = translation_in("camera", path)
    assert torch.equal(own[0], path[0, :3, 3])
    assert np.allclose(own.diff(dim=0), camera_steps(path.numpy(), 1.0)[:, :3], atol=1e-12)


def test_features_are_what_the_paper_says():
    path = some(1)[0]
    x0 = 2 * encode_path(path[None], CAMERA_STEPS)[0]  # they are scaled to EDM's standard deviation
    assert torch.allclose(x0[:6, 7], torch.from_numpy(six_from_rotation(path[7, :3, :3].numpy())))
    start = (path[0, :3, 3] - torch.tensor(CAMERA_STEPS.start_mean)) / torch.tensor(CAMERA_STEPS.start_std)
    step = path[8, :3, 3] - path[7, :3, 3] - torch.tensor(CAMERA_STEPS.step_mean)
    assert torch.allclose(x0[6:, 0], start)
    assert torch.allclose(x0[6:, 8], step / torch.tensor(CAMERA_STEPS.step_std))


def test_rotations_are_made_orthonormal_as_in_numpy():
    x0 = torch.randn(2, 9, 5, dtype=torch.float64)
    rotation = decode_path(x0, CAMERA_STEPS)[..., :3, :3]
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert np.allclose(rotation_from_six(x0[:, :6].mT.numpy()), rotation.numpy())


@pytest.mark.parametrize("axes", ["world", "camera"])
def test_a_mirror_turns_x_round(axes):
    path = some(1)[0]
    steps = fit_steps([translation_in(axes, path)], mirrored=True)
    x0 = encode_path(path[None], steps, axes=axes) * torch.tensor(MIRROR)[:, None]
    mirrored = decode_path(x0, steps, axes=axes)[0]
    turn = torch.diag(torch.tensor([-1.0, 1, 1], dtype=torch.float64))
    assert torch.allclose(mirrored[:, :3, :3], turn @ path[:, :3, :3] @ turn, atol=1e-9)
    assert torch.allclose(mirrored[:, :3, 3], path[:, :3, 3] @ turn, atol=1e-9)


def test_fitted_steps_standardise_and_are_saved():
    tracks = [path[:, :3, 3] for path in some(40)]
    steps = fit_steps(tracks)
    told = torch.cat([encode_character(track[None], steps)[0, :, 1:] for track in tracks], dim=1)
    assert torch.allclose(told.mean(1), torch.zeros(3, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(told.square().mean(1), torch.ones(3, dtype=torch.float64), atol=1e-3)
    assert transform_from_json(steps.to_json(), where="test") == steps
    assert fit_steps(tracks, mirrored=True).step_mean[0] == 0


@pytest.mark.parametrize("axes", ["world", "camera"])
def test_bent_steps_come_back_standardised(axes):
    paths = some(30)
    knee = 0.002
    steps = fit_steps([translation_in(axes, path) for path in paths], knee=knee)
    rows = [encode_path(path[None], steps, axes=axes)[0, 6:, 1:] for path in paths]
    told = 2 * torch.cat(rows, dim=1)
    assert torch.allclose(told.square().mean(1), torch.ones(3, dtype=torch.float64), atol=1e-3)
    for path in paths[:3]:
        again = decode_path(encode_path(path[None], steps, axes=axes), steps, axes=axes)[0]
        assert torch.allclose(again, path, atol=1e-9)
    assert transform_from_json(steps.to_json(), where="test") == steps
    own = translation_in(axes, paths[0])
    expected = torch.asinh(own.diff(dim=0) / knee) - torch.tensor(steps.step_mean)
    z = 2 * encode_path(paths[0][None], steps, axes=axes)[0, 6:, 1:]
    assert torch.allclose(z.mT * torch.tensor(steps.step_std), expected, atol=1e-9)


def test_bent_steps_keep_what_is_slow_apart_from_what_is_still():
    """Of tracks at 1 m/s, at 0.02 m/s and at rest: how far apart the two slow ones are, in deviations."""
    frames = torch.arange(50, dtype=torch.float64)[:, None] / 25
    tracks = [frames * speed * torch.ones(1, 3) for speed in (1.0, 0.02, 0.0, -0.02, -1.0)]

    def apart(knee):
        steps = fit_steps(tracks, knee=knee)
        still, slow = (steps.forward(track.mT[None])[0, 0, 1:].mean() for track in (tracks[2], tracks[1]))
        return float(slow - still)

    assert apart(0.05 / 25) > 4 * apart(0.0)
