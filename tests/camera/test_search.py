"""Paths are found by words, wherever they start."""

import numpy as np
import pytest
import torch
from tests.camera.conftest import TEXT

from melies import checkpoint
from melies.camera.clatr import CLaTr, CLaTrConfig
from melies.camera.formats import write_path
from melies.camera.path import at_frame_rate
from melies.camera.search import SearchSettings, path_files, ranking_picture, search_paths
from melies.camera.synthesis import synthesize
from melies.errors import UserError
from melies.geometry import exp_rotation


@pytest.fixture
def space(tmp_path):
    """A CLaTr of a few weights, untrained."""
    torch.manual_seed(0)
    config = CLaTrConfig(
        text=TEXT, text_dim=16, dim=16, depth=1, head_dim=16, patch=10, dropout=0.0, frames=80
    )
    checkpoint.save(tmp_path / "space", CLaTr(config))
    return SearchSettings(clatr=str(tmp_path / "space"))


def path_of(poses):
    return at_frame_rate(poses, 25.0)


def test_every_format_is_searched_and_what_is_no_path_is_counted(tmp_path, space):
    shots = [shot.world_from_camera for shot in synthesize(4, seed=3)]
    root = tmp_path / "shots"
    for poses, name in zip(shots, ("kitti", "tum", "nerfstudio", "colmap"), strict=True):
        write_path(path_of(poses), root / name / f"{name}-shot", name)
    (root / "notes.txt").write_text("no path")
    ranking = search_paths("left", [root], space)
    assert ranking.searched == 4
    assert len(ranking.refused) == 1
    assert "notes.txt" in ranking.refused[0]
    scores = [one.score for one in ranking.found]
    assert scores == sorted(scores, reverse=True)
    assert {one.file.stem for one in ranking.found} == {
        *("kitti-shot", "tum-shot", "nerfstudio-shot", "colmap-shot")
    }
    assert ranking_picture(ranking).size[0] > 1000


def test_where_a_path_starts_and_looks_counts_for_nothing(tmp_path, space):
    poses = next(synthesize(1, seed=5)).world_from_camera[:70]
    moved = np.eye(4)
    moved[:3, :3] = exp_rotation(np.array([0.0, 2.1, 0.0]))
    moved[:3, 3] = (30.0, -2.0, 7.0)
    scores = []
    for name, one in (("here", poses), ("there", moved @ poses)):
        write_path(path_of(one), tmp_path / name / "path", "kitti")
        scores.append(search_paths("right", [tmp_path / name], space).found[0].score)
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_a_long_path_is_found_at_its_best_window(tmp_path, space):
    poses = next(shot for shot in synthesize(40, seed=9) if len(shot.world_from_camera) > 250)
    whole = path_of(poses.world_from_camera)
    write_path(whole, tmp_path / "long" / "path", "tum")
    found = search_paths("right", [tmp_path / "long"], space).found[0]
    starts = [*range(0, len(whole) - 80, 27), len(whole) - 80]
    alone = []
    for start in starts:
        part = path_of(poses.world_from_camera[start : start + 80])
        write_path(part, tmp_path / f"part-{start}" / "path", "tum")
        alone.append(search_paths("right", [tmp_path / f"part-{start}"], space).found[0].score)
    assert found.score == pytest.approx(max(alone), abs=1e-4)
    assert found.start == pytest.approx(starts[int(np.argmax(alone))] / 25.0)
    assert found.end - found.start == pytest.approx(79 / 25)


def test_of_a_set_the_paths_are_searched(tmp_path):
    for name in ("traj/a.txt", "caption/a.txt", "traj_raw/a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    assert path_files([tmp_path]) == [tmp_path / "traj/a.txt"]


@pytest.mark.parametrize(
    ("make", "words", "message"),
    [
        ((), "left", "no file in it has a suffix"),
        (("a.txt",), "left", "no camera path that can be read"),
        (("a.txt",), " ", "no words"),
    ],
)
def test_what_cannot_be_searched_is_refused(tmp_path, space, make, words, message):
    root = tmp_path / "empty"
    root.mkdir()
    for name in make:
        (root / name).write_text("nothing")
    with pytest.raises(UserError, match=message):
        search_paths(words, [root], space)
    with pytest.raises(UserError, match="no such file or folder"):
        search_paths("left", [tmp_path / "nowhere"], space)
