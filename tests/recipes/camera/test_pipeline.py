"""The builder's way is scored against what shots were."""

import numpy as np
import pytest

from melies.camera.chunks import CLEAN, Chunk, find_chunks, spoil_shot
from melies.camera.clean import CleaningConfig
from melies.camera.synthesis import synthesize
from melies.recipes.camera.pipeline import PipelineScore, score_pipeline, score_shot
from melies.report.record import read_record

UNSMOOTHED = CleaningConfig(measurement_std=0.0)


def test_the_truth_comes_back():
    shot = next(iter(synthesize(1, seed=4)))
    found = score_shot(shot, find_chunks(spoil_shot(shot, CLEAN, np.random.default_rng(0)), UNSMOOTHED))
    assert found[:3] == (1.0, 1, pytest.approx(0, abs=1e-9))
    assert min(found.camera, found.character) >= 0.98  # the frames at the borders are the smoother's


def test_an_error_is_measured_from_the_best_origin():
    """Half of a sample is 6 mm to the right of the rest: 3 mm from where it is best put."""
    shot = next(iter(synthesize(1, seed=4)))
    n = len(shot.world_from_camera) // 4 * 2
    poses = shot.world_from_camera[:n].copy()
    poses[: n // 2, 0, 3] += 0.006
    poses[:, :3, 3] += [4.0, -2.0, 1.0]
    found = score_shot(shot, [Chunk(0, poses, shot.character[:n], np.zeros(3))])
    assert found.error == pytest.approx(0.003)
    assert found.kept == pytest.approx(n / len(shot.world_from_camera))
    assert found.pieces == 1


def test_a_shot_of_which_nothing_comes_back_has_no_tags():
    shot = next(iter(synthesize(1, seed=4)))
    found = score_shot(shot, [])
    assert found.kept == found.pieces == 0
    assert np.isnan([found.error, found.camera, found.character]).all()


def test_clean_shots_are_tagged_right_and_spoiled_ones_worse(tmp_path):
    score_pipeline(PipelineScore(count=12), tmp_path, command="score")
    record = read_record(tmp_path / "record.json")
    assert record.metric("clean: camera tags as the truth").value >= 0.98
    assert record.metric("clean: frames kept").value > 0.99
    assert record.metric("spoiled: frames kept").value < 1
    worse = [record.metric(f"spoiled{how}: trajectory error").value for how in (", not smoothed", "")]
    assert worse[0] > worse[1] > record.metric("clean: trajectory error").value
