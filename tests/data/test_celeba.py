"""CelebA in eight pictures, in either form of its tables."""

import numpy as np
import pytest
from PIL import Image

from melies.data.celeba import read_celeba
from melies.errors import UserError

SMILING = [1, -1, -1, 1, 1, -1, 1, -1]
PART = [0, 0, 0, 0, 0, 1, 2, 2]


@pytest.fixture
def folder(tmp_path):
    """Eight faces of 178×218, whose level says which they are."""
    (tmp_path / "img_align_celeba").mkdir()
    rows = []
    for i in range(8):
        name = f"{i + 1:06d}.jpg"
        array = np.full((218, 178, 3), 20 * i, dtype=np.uint8)
        Image.fromarray(array).save(tmp_path / "img_align_celeba" / name)
        rows.append(f"{name}  -1  {SMILING[i]:2d} -1")
    (tmp_path / "list_attr_celeba.txt").write_text("8\nMale Smiling Young\n" + "\n".join(rows) + "\n")
    parts = "\n".join(f"{i + 1:06d}.jpg {part}" for i, part in enumerate(PART))
    (tmp_path / "list_eval_partition.txt").write_text(parts + "\n")
    return tmp_path


def levels(pictures):
    return (pictures.pixels.float().mean((1, 2, 3)) / 20).round().int().tolist()


def test_each_part_has_its_pictures_with_the_attribute_as_class(folder):
    train = read_celeba(folder, size=16)
    assert train.pixels.shape == (5, 3, 16, 16)
    assert levels(train) == [0, 1, 2, 3, 4]
    assert train.classes == ("not-smiling", "smiling")
    assert train.labels.tolist() == [1, 0, 0, 1, 1]
    test = read_celeba(folder, size=16, split="test")
    assert (levels(test), test.labels.tolist()) == ([6, 7], [1, 0])
    assert read_celeba(folder, size=16, attribute="Male").labels.tolist() == [0] * 5
    assert len(read_celeba(folder, size=16, limit=2)) == 2


def test_tables_of_commas_say_the_same(folder):
    for stem in ("list_attr_celeba", "list_eval_partition"):
        (folder / f"{stem}.txt").unlink()
    rows = [f"{i + 1:06d}.jpg,-1,{SMILING[i]},-1" for i in range(8)]
    (folder / "list_attr_celeba.csv").write_text("image_id,Male,Smiling,Young\n" + "\n".join(rows))
    parts = [f"{i + 1:06d}.jpg,{part}" for i, part in enumerate(PART)]
    (folder / "list_eval_partition.csv").write_text("image_id,partition\n" + "\n".join(parts))
    assert read_celeba(folder, size=16).labels.tolist() == [1, 0, 0, 1, 1]


def test_without_parts_everything_is_for_training(folder):
    (folder / "list_eval_partition.txt").unlink()
    assert len(read_celeba(folder, size=16)) == 8
    with pytest.raises(UserError, match="no part 'test' without"):
        read_celeba(folder, size=16, split="test")


def test_what_is_wrong_is_named(folder):
    with pytest.raises(UserError, match="did you mean 'Smiling'"):
        read_celeba(folder, size=16, attribute="smiling")
    with pytest.raises(UserError, match="unknown split of CelebA 'training'"):
        read_celeba(folder, size=16, split="training")
    table = folder / "list_attr_celeba.txt"
    text = table.read_text()
    table.write_text(text.replace("000002.jpg  -1  -1 -1", "000002.jpg  -1 -1"))
    with pytest.raises(UserError, match=r"the row of 000002\.jpg has 2 values for 3"):
        read_celeba(folder, size=16)
    table.write_text(text.replace("000002.jpg", "999999.jpg"))
    with pytest.raises(UserError, match=r"000002\.jpg: has no row"):
        read_celeba(folder, size=16)
    table.write_text("0\nMale\n")
    with pytest.raises(UserError, match="has no rows"):
        read_celeba(folder, size=16)
    table.unlink()
    with pytest.raises(UserError, match=r"lacks list_attr_celeba\.txt"):
        read_celeba(folder, size=16)
