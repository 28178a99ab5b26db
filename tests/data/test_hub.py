"""Sets of the hub, through a stand-in for `datasets`."""

import io
import re
import sys
from types import ModuleType

import pytest
from PIL import Image

from melies.data.images import read_images
from melies.errors import UserError


def picture(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (value,) * 3).save(file, "PNG")
    return file.getvalue()


def fake_datasets(monkeypatch, columns: dict, rows: list[dict]):
    """What of the package `datasets` is used, so that the test needs neither it nor a network."""

    class ImageKind:
        def __init__(self, decode=True):
            self.decode = decode

    class ClassLabel:
        names = ("cat", "dog")

    kinds = {"image": ImageKind(), "classes": ClassLabel(), "plain": object()}

    class Table:
        def __init__(self):
            self.features = {name: kinds[kind] for name, kind in columns.items()}

        def cast_column(self, name, kind):
            assert not kind.decode
            return self

        def __len__(self):
            return len(rows)

        def __getitem__(self, index):
            return rows[index]

    def load_dataset(name, split):
        if name == "missing":
            raise ConnectionError("no such data set\nlong story")
        return Table()

    module = ModuleType("datasets")
    module.__dict__.update(Image=ImageKind, ClassLabel=ClassLabel, load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_a_hub_set(monkeypatch, tmp_path):
    (tmp_path / "b.png").write_bytes(picture(2))
    rows = [
        {"img": {"bytes": picture(1), "path": "a.png"}, "label": 1, "caption": "one"},
        {"img": {"bytes": None, "path": str(tmp_path / "b.png")}, "label": 0, "caption": ["two", "zwei"]},
    ]
    fake_datasets(monkeypatch, {"img": "image", "label": "classes", "caption": "plain"}, rows)
    found = read_images("hf:somebody/pets", size=8)
    assert found.pixels[:, 0, 0, 0].tolist() == [1, 2]
    assert found.texts == ("one", "two")
    assert [row["text"] for row in found.rows] == ["one", "two"]  # where recipes look for it
    assert found.classes == ("cat", "dog")
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0]
    assert len(read_images("hf:somebody/pets", size=8, limit=1)) == 1


def test_bad_hub_sets(monkeypatch):
    fake_datasets(monkeypatch, {"img": "image"}, [{"img": {"bytes": b"junk", "path": None}}])
    with pytest.raises(UserError, match="hf:x row 0: cannot be read as a picture"):
        read_images("hf:x", size=8)
    with pytest.raises(UserError, match=re.escape("hf:missing: cannot be loaded (no such data set);")):
        read_images("hf:missing", size=8)
    fake_datasets(monkeypatch, {"words": "plain"}, [{"words": "x"}])
    with pytest.raises(UserError, match=r"no column of pictures \(it has words\)"):
        read_images("hf:x", size=8)


def test_a_hub_set_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=re.escape("pip install 'melies[data]'")):
        read_images("hf:x", size=8)
