"""ImageNet in eight pictures, as it is unpacked."""

import numpy as np
import pytest
from PIL import Image

from melies.data.imagenet import class_names, read_imagenet
from melies.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Two classes of three, and two pictures for validation without classes."""
    root = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    for number, level in (("n01440764", 40), ("n02012849", 200)):
        (root / "train" / number).mkdir(parents=True)
        for i in range(3):
            array = np.full((30 + 10 * i, 40, 3), level, dtype=np.uint8)
            Image.fromarray(array).save(root / "train" / number / f"{number}_{i}.JPEG", "JPEG")
    (root / "val").mkdir()
    for i in range(2):
        Image.fromarray(np.zeros((20, 20, 3), dtype=np.uint8)).save(root / "val" / f"v{i}.JPEG", "JPEG")
    return tmp_path


def test_the_training_part_is_read_with_its_classes(folder):
    pictures = read_imagenet(folder, size=16)
    assert pictures.classes == ("n01440764", "n02012849")
    assert pictures.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert (pictures.pixels[0].float().mean() - 40).abs() < 3
    assert read_imagenet(folder, size=16, limit=2).labels.tolist() == [0, 1]


def test_classes_are_called_by_their_first_word(folder):
    (folder / "LOC_synset_mapping.txt").write_text("n01440764 tench, Tinca tinca\nn02012849 crane\n")
    assert read_imagenet(folder, size=16).classes == ("tench", "crane")


def test_a_word_of_two_classes_keeps_their_numbers():
    words = {"n1": "crane", "n2": "crane", "n3": "tench"}
    assert class_names(("n1", "n2", "n3", "n4"), words) == ("crane-n1", "crane-n2", "tench", "n4")


def test_a_folder_without_such_classes_is_refused(tmp_path):
    (tmp_path / "train" / "cats").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "train" / "cats" / "0.JPEG", "JPEG")
    with pytest.raises(UserError, match="none of the pictures that are needed"):
        read_imagenet(tmp_path, size=16)
