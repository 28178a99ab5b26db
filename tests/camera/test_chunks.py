"""What a reconstruction spoils comes out as it was, as far as it can."""

import numpy as np
import pytest

from melies.camera.align import Window
from melies.camera.chunks import CLEAN, SpoilingConfig, find_chunks, spoil_shot
from melies.camera.clean import CleaningConfig
from melies.camera.dataset import labels_of
from melies.camera.synthesis import synthesize
from melies.camera.tag import tag_camera
from melies.errors import UserError

AS_IT_IS = CleaningConfig(measurement_std=0.0)


def test_a_shot_that_nothing_is_wrong_with_comes_back():
    for shot in synthesize(6, seed=1):
        (chunk,) = find_chunks(spoil_shot(shot, CLEAN, np.random.default_rng(0)), AS_IT_IS)
        assert chunk.start == 0
        assert np.abs(chunk.world_from_camera - shot.world_from_camera).max() < 1e-9
        assert np.abs(chunk.character - shot.character).max() < 1e-9
        assert chunk.origin == pytest.approx([0, 0, 0])


def test_scales_and_noise_are_mostly_undone():
    """Windows, jumps, gaps and noise: nearly all frames are kept, and nearly all labels are right."""
    rng, right, kept, frames = np.random.default_rng(0), [], 0, 0
    for shot in synthesize(20, seed=7):
        truth = labels_of(shot.camera_segments)
        frames += len(shot.character)
        for chunk in find_chunks(spoil_shot(shot, SpoilingConfig(), rng), CleaningConfig()):
            kept += len(chunk.character)
            assert (chunk.character[0] == 0).all()
            if len(chunk.character) > 56:
                found = tag_camera(chunk.world_from_camera)
                right += list(found == truth[chunk.start : chunk.start + len(found)])
    assert kept / frames > 0.93
    assert np.mean(right) > 0.95


def test_jumps_are_cut_out():
    shot = max(synthesize(6, seed=2), key=lambda one: len(one.character))
    config = SpoilingConfig(scale=0, shift=0, jitter=0, character_jitter=0, gaps=0, jumps=0.01, jump=5.0)
    chunks = find_chunks(spoil_shot(shot, config, np.random.default_rng(4)), AS_IT_IS)
    assert len(chunks) > 1
    for chunk in chunks:
        steps = np.diff(chunk.world_from_camera[:, :3, 3], axis=0)
        assert np.linalg.norm(steps, axis=1).max() < 0.2


def test_long_parts_are_cut_into_pieces():
    poses = np.tile(np.eye(4), (640, 1, 1))
    poses[:, 0, 3] = 0.01 * np.arange(640)
    character = poses[:, :3, 3] + [0.0, 0.0, 2.0]
    chunks = find_chunks([Window(0, poses, character)], AS_IT_IS)
    assert [(chunk.start, len(chunk.character)) for chunk in chunks] == [(0, 300), (300, 300), (600, 40)]
    assert chunks[1].world_from_camera[0, :3, 3] == pytest.approx([0, 0, -2])
    assert chunks[1].origin == pytest.approx([3.0, 0, 2.0])


def test_a_shot_without_a_character_is_refused():
    with pytest.raises(UserError, match="no character"):
        find_chunks([Window(0, np.tile(np.eye(4), (20, 1, 1)))], CleaningConfig())
