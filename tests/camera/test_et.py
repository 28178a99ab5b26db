"""E.T.'s folders are read and written as published, and made ones say what is in them."""

import json
import re

import numpy as np
import pytest

from melies.camera.dataset import count_set, labels_of, synthesize_set
from melies.camera.et import read_sample, read_samples, sample_names, write_sample
from melies.camera.tag import Segment, tag_camera, tag_character
from melies.errors import UserError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made") / "et"
    return root, synthesize_set(root, 40, seed=7)


def test_a_real_sample_is_written_as_it_was(shared_data, tmp_path):
    root = shared_data / "et_samples"
    names = sample_names(root)
    assert len(names) == 2
    for name in names:
        sample = read_sample(root, name)
        write_sample(tmp_path, sample)
        again = read_sample(tmp_path, name)
        assert np.allclose(again.path.world_from_camera, sample.path.world_from_camera, atol=1e-6)
        for folder in ("char", "char_raw", "cam_segments", "char_segments", "intrinsics"):
            stored = np.load(root / folder / f"{name}.npy", allow_pickle=False)
            ours = np.load(tmp_path / folder / f"{name}.npy", allow_pickle=False)
            assert ours.dtype == stored.dtype
            assert np.allclose(ours, stored, atol=1e-9)
        stored, ours = (np.loadtxt(one / "traj_raw" / f"{name}.txt") for one in (root, tmp_path))
        # The stored rotations are half-precision numbers: ours are made orthonormal.
        assert np.allclose(ours, stored, atol=1e-3)
        assert (tmp_path / "caption" / f"{name}.txt").read_text() == sample.caption


def test_a_made_set_is_whole(made):
    root, found = made
    names = sample_names(root)
    assert len(names) == found.samples == 40
    train, test = sample_names(root, "full_train"), sample_names(root, "full_test")
    assert sorted(train + test) == names
    assert len(test) == 4
    assert set(sample_names(root, "pure_train")) < set(sample_names(root, "mixed_train")) == set(train)
    parts = ("clatr_train", "clatr_val", "clatr_test")
    assert sorted(name for part in parts for name in sample_names(root, part)) == names
    for sample in read_samples(root):
        assert re.fullmatch(r"0007_made\d{7}_00000_00000", sample.name)
        truth = json.loads((root / "gt" / f"{sample.name}.json").read_text())
        labels = labels_of([Segment(**one) for one in truth["camera"]])
        assert (labels == sample.camera_labels).all()
        assert (tag_camera(sample.path.world_from_camera) == labels).mean() > 0.9
        assert (tag_character(sample.character) == sample.character_labels).mean() > 0.9
        assert sample.caption.endswith(".")
        assert "character" not in sample.camera_caption


def test_what_is_in_a_set_is_counted(made):
    root, found = made
    samples = list(read_samples(root))
    assert found.frames == sum(len(one.path) for one in samples)
    assert found.hours == pytest.approx(found.frames / 25 / 3600)
    assert found.captions == 80
    words = {
        word for one in samples for word in re.findall(r"[\w'-]+", f"{one.caption} {one.camera_caption}")
    }
    assert found.vocabulary == len({word.lower() for word in words})
    assert sum(found.motions.values()) == 40
    assert count_set(root, "full_test").samples == 4


def test_labels_that_are_not_stored_are_taken_from_the_path(made, tmp_path):
    root, _ = made
    sample = read_sample(root, sample_names(root)[0])
    write_sample(tmp_path, sample)
    for folder in ("cam_segments", "char_segments", "caption", "char_raw", "intrinsics"):
        (tmp_path / folder / f"{sample.name}.npy").unlink(missing_ok=True)
        (tmp_path / folder / f"{sample.name}.txt").unlink(missing_ok=True)
    again = read_sample(tmp_path, sample.name)
    assert (again.camera_labels == tag_camera(again.path.world_from_camera)).all()
    assert (again.caption, again.intrinsics) == ("", None)
    assert (again.origin == 0).all()


def test_damage_is_named(made, tmp_path):
    root, _ = made
    sample = read_sample(root, sample_names(root)[0])
    write_sample(tmp_path, sample)
    character = tmp_path / "char" / f"{sample.name}.npy"
    np.save(character, sample.character[:-3])
    with pytest.raises(UserError, match="beside"):
        read_sample(tmp_path, sample.name)
    np.save(character, np.array([object()], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="cannot read it"):
        read_sample(tmp_path, sample.name)
    character.unlink()
    with pytest.raises(UserError, match="no character"):
        read_sample(tmp_path, sample.name)
    with pytest.raises(UserError, match="no split 'pure_test'"):
        sample_names(tmp_path, "pure_test")
    with pytest.raises(UserError, match="no folder traj"):
        sample_names(tmp_path / "char")
    with pytest.raises(UserError, match="something in it"):
        synthesize_set(tmp_path, 3, seed=0)
