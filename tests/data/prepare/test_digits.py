"""The digits of scikit-learn: every picture as the package has it, split as it is said."""

import sys
from collections import Counter

import numpy as np
import pytest
from sklearn.datasets import load_digits

from melies.data.images import read_images
from melies.data.places import find_data, find_or_make
from melies.data.prepare.digits import prepare_digits
from melies.errors import UserError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return prepare_digits(tmp_path_factory.mktemp("digits"))


def test_every_picture_is_there_once_in_its_class_and_part(made):
    assert (made.num_pictures, made.path.name) == (1_797, "digits.zip")
    digits = load_digits()
    expected = {split: Counter() for split in ("train", "test")}
    counts = Counter()
    for picture, label in zip(digits.images, digits.target, strict=True):
        split = "test" if counts[label] % 5 == 4 else "train"
        counts[label] += 1
        levels = np.array([round(level * 255 / 16) for level in picture.flat], dtype=np.uint8)
        expected[split][int(label), levels.tobytes()] += 1
    for split, pictures in expected.items():
        found = read_images(made.path, size=8, channels=1, split=split)
        assert found.classes == tuple("0123456789")
        labels = found.labels.tolist()
        assert (
            Counter((label, bytes(p.numpy())) for label, p in zip(labels, found.pixels, strict=True))
            == pictures
        )
    assert sum(expected["test"].values()) == 355  # as TEST_EVERY says


def test_it_is_made_where_it_is_wanted_and_then_found(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MELIES_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="melies data prepare digits"):
        find_data("digits")
    made = find_or_make("digits")
    assert made == find_data("digits") == find_or_make("digits")
    assert len(read_images(made, size=8, channels=1)) == 1_442
    with pytest.raises(UserError, match="melies data prepare emoji"):
        find_or_make("emoji")
    with pytest.raises(UserError, match="no such file"):
        find_or_make("digits", tmp_path / "nowhere")


def test_what_cannot_be(made, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="leave out --from"):
        prepare_digits(tmp_path, source="digits.csv")
    with pytest.raises(UserError, match="is there already"):
        prepare_digits(made.path)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UserError, match=r"pip install 'melies\[eval\]'"):
        prepare_digits(tmp_path)
