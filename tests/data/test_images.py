"""Sets of pictures from folders and zips: what is read, and what is refused by file and line."""

import io
import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from melies.data import images
from melies.data.images import read_images, spread
from melies.errors import UserError
from melies.progress import silent


def picture(value: int = 0, side: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), (value,) * 3).save(file, "PNG")
    return file.getvalue()


def folder_of(root: Path, files: Mapping[str, bytes | str]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return root


def zipped(root: Path) -> Path:
    return Path(shutil.make_archive(str(root.parent / "packed"), "zip", root))


def jsonl(*rows) -> str:
    return "\n".join(json.dumps(row) for row in rows)


CAPTIONED = {
    "metadata.jsonl": jsonl(
        {"file_name": "b.png", "text": "two", "tags": ["x"]},
        {"file_name": "a.png", "text": " one ", "tags": []},
    ),
    "a.png": picture(1),
    "b.png": picture(2),
    "README.md": "not a picture",
}


@pytest.mark.parametrize("pack", [lambda path: path, zipped], ids=["folder", "zip"])
def test_captions(tmp_path, pack):
    found = read_images(pack(folder_of(tmp_path / "set", CAPTIONED)), size=8)
    assert found.texts == ("one", "two")
    assert found.names == ("a.png", "b.png")
    assert found.rows[1]["tags"] == ["x"]
    assert found.labels is None
    assert found.classes == ()
    assert found.pixels.dtype == torch.uint8
    assert found.pixels[:, 0, 0, 0].tolist() == [1, 2]


def test_captions_in_csv_with_a_byte_order_mark(tmp_path):
    table = '\ufefffile_name,text\r\na.png,"one, and more"\r\nb.png,two\r\n'
    found = read_images(
        folder_of(tmp_path, {"metadata.csv": table, "a.png": picture(), "b.png": picture()}), size=8
    )
    assert found.texts == ("one, and more", "two")


@pytest.mark.parametrize("pack", [lambda path: path, zipped], ids=["folder", "zip"])
@pytest.mark.parametrize("top", ["", "wrapped/"])
def test_class_folders_with_splits(tmp_path, pack, top):
    files = {f"{top}train/{name}/{i}.png": picture(i) for name in ("cat", "ant") for i in range(3)}
    source = pack(folder_of(tmp_path / "set", files | {f"{top}test/cat/0.png": picture(9)}))
    train, test = read_images(source, size=8), read_images(source, size=8, split="test")
    assert train.classes == test.classes == ("ant", "cat")
    assert train.labels is not None
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert train.texts is None
    assert train.rows == ({},) * 6
    assert test.labels is not None
    assert test.labels.tolist() == [1]  # the same meaning in each split, though it has one class only
    assert test.pixels[0, 0, 0, 0] == 9
    with pytest.raises(UserError, match="did you mean 'train'"):
        read_images(source, size=8, split="trai")


def test_a_split_of_a_set_without_splits_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no split 'test'"):
        read_images(folder_of(tmp_path, CAPTIONED), size=8, split="test")


def test_a_lone_split_is_taken(tmp_path):
    assert read_images(folder_of(tmp_path, {"test/a.png": picture()}), size=8).names == ("test/a.png",)


def test_one_folder_of_pictures_has_no_classes(tmp_path):
    found = read_images(folder_of(tmp_path, {"holiday/a.png": picture(), "holiday/b.png": picture()}), size=8)
    assert found.classes == ()
    assert found.labels is None


@pytest.mark.parametrize(
    ("values", "classes"), [(["dog", "cat", "dog"], ("cat", "dog")), ([7, 3, 7], ("3", "7"))]
)
def test_labels_from_a_column(tmp_path, values, classes):
    rows = jsonl(*({"file_name": f"{i}.png", "label": value} for i, value in enumerate(values)))
    found = read_images(
        folder_of(tmp_path, {"metadata.jsonl": rows} | {f"{i}.png": picture() for i in range(3)}), size=8
    )
    assert found.classes == classes
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0, 1]
    assert found.texts is None


def test_metadata_in_each_folder(tmp_path):
    files = {}
    for split in ("train", "test"):
        files |= {
            f"{split}/metadata.jsonl": jsonl({"file_name": "in/a.png", "text": split}),
            f"{split}/in/a.png": picture(),
        }
    assert read_images(folder_of(tmp_path, files), size=8, split="test").texts == ("test",)


def test_subset_takes_indices_and_masks(tmp_path):
    files = {f"{name}/{i}.png": picture(i) for name in ("cat", "ant") for i in range(3)}
    found = read_images(folder_of(tmp_path, files), size=8)
    some = found.subset([4, 0])
    assert some.names == ("cat/1.png", "ant/0.png")
    assert some.pixels[:, 0, 0, 0].tolist() == [1, 0]
    assert found.labels is not None
    assert found.subset(found.labels == 1).names == tuple(f"cat/{i}.png" for i in range(3))
    assert len(found.subset([])) == 0
    with pytest.raises(ValueError, match="mask"):
        found.subset(torch.tensor([True]))


def test_a_limit_spreads_over_all_classes(tmp_path):
    files = {f"{name}/{i}.png": picture() for name in "abcd" for i in range(5)}
    assert read_images(folder_of(tmp_path, files), size=8, limit=4).names == (
        "a/0.png",
        "b/0.png",
        "c/0.png",
        "d/0.png",
    )


@given(count=st.integers(1, 50), limit=st.integers(1, 60))
def test_spread_takes_distinct_items_in_order(count, limit):
    items = [f"{index:03d}" for index in range(count)]
    taken = spread(items, limit)
    assert taken == sorted(set(taken))
    assert len(taken) == min(count, limit)


def test_grey(tmp_path):
    assert read_images(
        folder_of(tmp_path, {"a.png": picture(77)}), size=8, channels=1
    ).pixels.unique().tolist() == [77]


def test_progress_counts_every_picture(tmp_path):
    seen = []

    class Track:
        def advance(self, amount=1.0, **fields):
            seen.append(amount)

    class Bar:
        def __init__(self, title, *, total, unit="step", done=0.0):
            self.total = total

        def __enter__(self):
            return Track()

        def __exit__(self, *error):
            assert sum(seen) == self.total

    read_images(folder_of(tmp_path, CAPTIONED), size=8, progress=Bar)
    assert sum(seen) == 2


BAD = {
    "not JSON": (
        {"metadata.jsonl": CAPTIONED["metadata.jsonl"] + "\n{nope"},
        r"metadata\.jsonl line 3: is not JSON",
    ),
    "too deep": ({"metadata.jsonl": "[" * 100_000}, r"line 1: is not JSON"),
    "not an object": ({"metadata.jsonl": "\n[1]"}, r"line 2: is not a JSON object"),
    "no file_name": ({"metadata.jsonl": '{"text": "x"}'}, r"line 1: the row has no file_name"),
    "file_name outside": (
        {"metadata.jsonl": jsonl({"file_name": "../a.png", "text": "x"})},
        "points outside",
    ),
    "row without file": (
        {"metadata.jsonl": CAPTIONED["metadata.jsonl"] + "\n" + jsonl({"file_name": "c.png", "text": "x"})},
        r"line 3: there is no picture 'c\.png'",
    ),
    "file without row": ({"c.png": picture()}, r"c\.png: has no row in metadata\.jsonl"),
    "two rows": (
        {"metadata.jsonl": CAPTIONED["metadata.jsonl"] + "\n" + jsonl({"file_name": "./a.png", "text": "x"})},
        r"line 3: '\./a\.png' already has a row at .*line 2",
    ),
    "empty text": (
        {"metadata.jsonl": jsonl({"file_name": "a.png", "text": "x"}, {"file_name": "b.png", "text": "  "})},
        r"line 2: 'text' is empty",
    ),
    "text missing once": (
        {"metadata.jsonl": jsonl({"file_name": "a.png", "text": "x"}, {"file_name": "b.png"})},
        r"line 2: 'text' is empty",
    ),
    "text no text": (
        {"metadata.jsonl": jsonl({"file_name": "a.png", "text": "x"}, {"file_name": "b.png", "text": 3})},
        r"line 2: 'text' is no text",
    ),
    "label no label": (
        {"metadata.jsonl": jsonl({"file_name": "a.png", "label": 1}, {"file_name": "b.png", "label": None})},
        r"line 2: 'label' is neither",
    ),
    "not UTF-8": ({"metadata.jsonl": b'{"a": 1}\n{"\xff'}, r"line 2: is not UTF-8"),
    "both kinds": ({"metadata.csv": "file_name,text\n"}, r"both metadata\.jsonl and metadata\.csv"),
    "damaged picture": ({"b.png": picture()[:40]}, r"b\.png: cannot be read as a picture"),
    "no picture": ({"b.png": b"hello"}, r"b\.png: cannot be read as a picture \(not a picture\)"),
}


@pytest.mark.parametrize("pack", [lambda path: path, zipped], ids=["folder", "zip"])
@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_bad_sets_are_refused_by_file_and_line(tmp_path, change, message, pack):
    with pytest.raises(UserError, match=message) as caught:
        read_images(pack(folder_of(tmp_path / "set", CAPTIONED | change)), size=8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file_name,text\na.png,x,y\n", "line 2: has more cells"),
        ("file_name,text\na.png\n", "line 2: has fewer cells"),
    ],
)
def test_bad_csv_is_refused_by_line(tmp_path, table, message):
    with pytest.raises(UserError, match=message):
        read_images(folder_of(tmp_path, {"metadata.csv": table, "a.png": picture()}), size=8)


def test_an_empty_set_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no pictures"):
        read_images(tmp_path, size=8)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(tmp_path, limit):
    with pytest.raises(UserError, match="leaves no pictures"):
        read_images(folder_of(tmp_path, CAPTIONED), size=8, limit=limit)


def test_a_set_that_does_not_fit_names_need_and_remedy(tmp_path):
    with pytest.raises(UserError, match=r"2 pictures of 3×8×8 need .* GB .*read at most 1 "):
        read_images(folder_of(tmp_path, CAPTIONED), size=8, max_bytes=200)


def test_free_memory_is_a_plausible_number():
    assert 1 << 20 < images.free_memory() < 1 << 50


def test_a_failure_stops_the_others():
    begun = []

    def fill(index):
        begun.append(index)
        if index == 3:
            raise UserError("broken")

    with pytest.raises(UserError, match="broken"):
        images.fill_all(fill, 5000, silent)
    assert len(begun) <= 1024


def test_the_emoji_set(shared_data):
    source = shared_data / "emoji64.zip"
    if not source.is_file():
        pytest.skip(f"no {source}")
    found = read_images(source, size=64, limit=100)
    with zipfile.ZipFile(source) as archive:
        original = Image.open(io.BytesIO(archive.read(found.names[50]))).convert("RGBA")
    paper = Image.alpha_composite(Image.new("RGBA", (64, 64), "white"), original).convert("RGB")
    np.testing.assert_array_equal(found.pixels[50].permute(1, 2, 0).numpy(), np.asarray(paper))
    assert {row["style"] for row in found.rows} == {"noto", "twemoji"}
