"""What would spoil a training is refused when the set is read."""

import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from melies.data.images import said_sizes
from melies.data.sets import read_parts, read_set
from melies.errors import UserError


def write(folder, names, *, size=(12, 12), colour=True):
    rng = np.random.default_rng(0)
    for name in names:
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (size[1], size[0], 3) if colour else (size[1], size[0])
        Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8)).save(path)
    return folder


def test_size_and_channels_are_the_pictures_own_unless_said(tmp_path):
    colour = write(tmp_path / "colour", ["a/1", "b/2"])
    grey = write(tmp_path / "grey", ["a/1", "b/2"], colour=False)
    assert read_set(colour).pixels.shape == (2, 3, 12, 12)
    assert read_set(grey).pixels.shape == (2, 1, 12, 12)
    assert read_set(grey, size=8, channels=1).pixels.shape == (2, 1, 8, 8)
    assert read_set(colour, size=8, channels=1).pixels.shape == (2, 1, 8, 8)
    found = read_set(grey)
    assert (found.classes, found.labels.tolist()) == (("a", "b"), [0, 1])
    with Image.open(grey / "a/1.png") as picture:
        assert torch.equal(found.pixels[0, 0], torch.from_numpy(np.array(picture)))


def test_one_coloured_picture_is_colour_enough(tmp_path):
    folder = write(tmp_path, ["a/1", "a/2"], colour=False)
    write(folder, ["b/3"])
    assert read_set(folder).pixels.shape[1] == 3
    assert read_set(folder, size=12, channels=3).pixels.shape[1] == 3


def test_pictures_without_classes_where_none_are_needed(tmp_path):
    folder = write(tmp_path, ["faces/1", "faces/2"])
    assert read_set(folder, classes=False).classes == ()
    with pytest.raises(UserError, match=r"one class, 'faces'.*at least two"):
        read_set(folder)


@pytest.mark.parametrize(
    ("pictures", "options", "said"),
    [
        ({}, {}, "holds no pictures"),
        ({}, {"size": 8}, "holds no pictures"),
        ({(12, 12): ["1", "2"]}, {}, "the pictures have no classes"),
        ({(12, 12): ["train/1", "test/2"]}, {}, "the pictures have no classes"),
        ({(12, 12): ["a/1", "b/2"], (9, 9): ["b/3"]}, {}, r"b/3.png.*9×9 pixels among pictures of 12×12"),
        ({(12, 10): ["a/1", "b/2"]}, {}, r"a/1.png: is 12×10 pixels, and not a square"),
        ({(4, 4): ["a/1", "b/2"]}, {}, "size = 4 is not supported"),
        ({(12, 12): ["train/a/1", "train/b/1"]}, {"split": "test"}, "unknown split"),
    ],
)
def test_mistakes(tmp_path, pictures, options, said):
    for size, names in pictures.items():
        write(tmp_path, names, size=size)
    with pytest.raises(UserError, match=said):
        read_set(tmp_path, **options)


def test_sizes_may_be_mixed_where_one_is_given(tmp_path):
    folder = write(tmp_path, ["a/1"], size=(20, 14))
    write(folder, ["b/2"], size=(9, 9))
    told = []
    pictures = read_set(folder, size=9, say=told.append)
    assert pictures.pixels.shape == (2, 3, 9, 9)
    assert pictures.sizes.tolist() == [[20, 14], [9, 9]]
    assert told == ["1 of 2 pictures are 20×14 pixels: cut to a square and resized to 9×9"]
    assert pictures.subset([1]).sizes.tolist() == [[9, 9]]
    assert said_sizes(pictures.subset([1])) == ""


def test_all_sizes_that_were_changed_are_told(tmp_path):
    folder = write(tmp_path, ["a/1"], size=(20, 20))
    write(folder, ["b/2", "b/3"], size=(11, 11))
    told = []
    read_parts(folder, size=8, say=told.append)
    assert told == ["3 of 3 pictures are 11×11 to 20×20 pixels: resized to 8×8"]


@pytest.mark.parametrize("size", [None, 12])
def test_grey_where_colour_is_expected(tmp_path, size):
    folder = write(tmp_path, ["a/1", "b/2"], colour=False)
    with pytest.raises(UserError, match="all pictures are grey, and colour is expected"):
        read_set(folder, size=size, channels=3)


def test_a_damaged_first_picture_and_a_set_of_the_hub(tmp_path):
    write(tmp_path, ["a/2", "b/3"])
    (tmp_path / "a" / "1.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"a/1.png: cannot be read as a picture"):
        read_set(tmp_path)
    with pytest.raises(UserError, match="size that is given"):
        read_set("hf:somebody/something")


def test_the_parts_of_a_set_are_its_folders(tmp_path):
    folder = write(
        tmp_path, [f"{part}/{label}/{i}" for part in ("train", "val") for label in "ab" for i in "12"]
    )
    parts = read_parts(folder)
    assert parts.train.names == ("train/a/1.png", "train/a/2.png", "train/b/1.png", "train/b/2.png")
    assert parts.test.names == ("val/a/1.png", "val/a/2.png", "val/b/1.png", "val/b/2.png")
    assert parts.train.classes == parts.test.classes == ("a", "b")
    assert parts.left_out is None
    write(folder, ["val/a/3"], size=(9, 9))
    with pytest.raises(UserError, match="9×9 pixels among pictures of 12×12"):
        read_parts(folder)
    assert len(read_parts(folder, size=8).test) == 5


def test_without_folders_a_tenth_is_kept_by_its_name_wherever_the_set_lies(tmp_path):
    names = [f"{label}/{i:02d}" for label in "ab" for i in range(60)]
    parts = read_parts(write(tmp_path / "here", names, size=(8, 8)))
    assert parts.left_out == {"modulus": 10, "remainder": 1}
    assert set(parts.train.names).isdisjoint(parts.test.names)
    assert len(parts.train) + len(parts.test) == 120
    assert 3 <= len(parts.test) <= 24  # 12 on average; four standard deviations
    assert all(zlib.crc32(name.encode()) % 10 == 1 for name in parts.test.names)
    deeper = read_parts(write(tmp_path / "there/and", names, size=(8, 8)).parent)
    assert [name.removeprefix("and/") for name in deeper.test.names] == list(parts.test.names)
    other = read_parts(tmp_path / "here", remainder=2)
    assert set(other.test.names).isdisjoint(parts.test.names)
