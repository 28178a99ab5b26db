"""What is measured of camera paths is what it says."""

import numpy as np
import pytest
from tests.camera.conftest import TEXT, small

from melies.camera.model import CameraDiffusion, CameraDiffusionConfig
from melies.camera.synthesis import synthesize
from melies.recipes.camera.defects import halved
from melies.recipes.camera.evaluate import held_out_parts, jerk, lasting, parts_of
from melies.recipes.camera.shots import captioned_shots


def test_half_features_are_half_the_motion():
    """As far as the mean step is 0: a path that is told about the middle of the set, half as long."""
    config = CameraDiffusionConfig(network=small("modulated"), text=TEXT)
    model = CameraDiffusion(config)
    steps = model.transforms["camera"]
    shot = next(iter(synthesize(1, seed=4)))
    n = len(shot.character)
    path = halved(model, shot.world_from_camera, shot.character)
    assert np.allclose(path[:, :3, :3], shot.world_from_camera[:, :3, :3], atol=1e-6)
    moved, whole = (np.diff(one[:, :3, 3], axis=0) for one in (path, shot.world_from_camera))
    assert np.allclose(moved, (whole + np.array(steps.step_mean)) / 2, atol=1e-6)
    assert len(path) == n


def test_a_track_is_made_to_last():
    track = np.arange(12.0).reshape(4, 3)
    assert (lasting(track, 2) == track[:2]).all()
    longer = lasting(track, 6)
    assert len(longer) == 6
    assert (longer[4:] == track[3]).all()


def test_jerk_is_the_third_derivative():
    """x = t³ m has a third derivative of 6 m/s³, which third differences have exactly."""
    seconds = np.arange(20) / 25
    path = np.tile(np.eye(4), (20, 1, 1))
    path[:, 0, 3] = seconds**3
    assert jerk(path, 25.0) == pytest.approx(6)
    assert jerk(path[:3], 25.0) == 0


def test_parts_are_full_and_not_of_shots_that_were_trained_on():
    parts = held_out_parts(12)
    assert {name: len(part) for name, part in parts.items()} == {"pure": 12, "mixed": 12}
    trained_on = parts_of(captioned_shots(86, seed=0), 12)
    assert not np.array_equal(
        parts["pure"].shots[0].world_from_camera[0], trained_on["pure"].shots[0].world_from_camera[0]
    )
    fewer = held_out_parts(5)["mixed"]
    assert fewer.captions == parts["mixed"].captions[:5]
