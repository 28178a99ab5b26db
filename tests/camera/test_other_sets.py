"""Sets in the layouts of other papers are counted as those papers count."""

import numpy as np
import pytest

from melies.camera.dataset import count_set, synthesize_set
from melies.camera.other_sets import count_any
from melies.errors import UserError


def write_motions(root, width):
    """Three motions, one of them in a mirror, and one whose file is missing."""
    for folder in ("texts", "new_joint_vecs"):
        (root / folder).mkdir(parents=True)
    for name, frames in (("000001", 40), ("000002", 60), ("M000001", 40)):
        np.save(root / "new_joint_vecs" / f"{name}.npy", np.zeros((frames, width), np.float32))
        (root / "texts" / f"{name}.txt").write_text(
            "a man walks forward.#a/DET man/NOUN#0.0#0.0\na Man's walk#x#0.0#0.0\n"
        )
    (root / "texts" / "000003.txt").write_text("gone#x#0#0\n")
    (root / "train.txt").write_text("000001\nM000001\n")


@pytest.mark.parametrize(("width", "fps"), [(263, 20.0), (251, 12.5)])
def test_motions_with_captions(tmp_path, width, fps):
    write_motions(tmp_path, width)
    found = count_any(tmp_path)
    assert (found.samples, found.frames, found.captions) == (2, 100, 4)
    assert found.hours == pytest.approx(100 / fps / 3600)
    assert found.vocabulary == len({"a", "man", "walks", "forward", "man's", "walk"})
    assert count_any(tmp_path, "train").samples == 1
    with pytest.raises(UserError, match="no split 'tset'"):
        count_any(tmp_path, "tset")
    np.save(tmp_path / "new_joint_vecs" / "000001.npy", np.zeros((4, 7)))
    with pytest.raises(UserError, match="motions of shape"):
        count_any(tmp_path)


def test_cameras_of_ccd(tmp_path):
    cameras = np.zeros((2, 30, 5))
    cameras[1, 20:] = np.nan
    np.savez(tmp_path / "ccd.npz", cam=cameras, info=np.array(["push in", "orbit left"]))
    found = count_any(tmp_path / "ccd.npz")
    assert (found.samples, found.frames, found.captions, found.vocabulary) == (2, 50, 2, 4)
    np.save(tmp_path / "ccd.npy", np.array([{"cam": 1}], dtype=object))
    with pytest.raises(UserError, match="never opened"):
        count_any(tmp_path / "ccd.npy")
    np.savez(tmp_path / "ccd.npz", cam=cameras, info=np.array(["push in"]))
    with pytest.raises(UserError, match="texts"):
        count_any(tmp_path / "ccd.npz")


def test_et_as_ever_and_what_is_no_set(tmp_path):
    synthesize_set(tmp_path / "et", 6, seed=0)
    assert count_any(tmp_path / "et") == count_set(tmp_path / "et")
    with pytest.raises(UserError, match="no set that is known"):
        count_any(tmp_path)
