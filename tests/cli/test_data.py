"""Sets are made by the function in the table, and shown after every picture was read."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from melies.data import PREPARE


@dataclass
class Made:
    path: Path
    num_pictures: int
    source: str


@pytest.fixture
def made(monkeypatch):
    calls = []

    def prepare_emoji(out, *, source=None, progress):
        calls.append((out, source))
        return Made(path=out, num_pictures=7572, source="npm")

    monkeypatch.setattr("melies.data.prepare.emoji.prepare_emoji", prepare_emoji)
    return calls


def test_prepare_writes_where_training_looks(run, made, tmp_path):
    done = run("data", "prepare", "emoji")
    assert done.code == 0
    assert made == [(tmp_path / "cache" / "melies" / "data" / "emoji64.zip", None)]
    assert done.out.startswith("7,572 pictures from npm, in ")


def test_prepare_from_files_at_hand(run, made):
    done = run("data", "prepare", "emoji", "--from", "packages", "--out", "my.zip", "--json")
    assert made == [(Path("my.zip"), "packages")]
    assert done.json == {"set": "emoji", "path": "my.zip", "num_pictures": 7572, "source": "npm"}


@pytest.mark.parametrize("name", PREPARE)
def test_a_source_that_is_not_there(run, name):
    done = run("data", "prepare", name, "--from", "not-here", "--out", "my.zip", "--quiet")
    assert done.code == 2
    assert "not-here" in done.error
    assert not Path("my.zip").exists()


def test_captions(run, pictures):
    done = run("data", "show", str(pictures), "--json", "--quiet")
    assert done.json == {
        "source": str(pictures),
        "count": 6,
        "sizes": {"16×16": 4, "20×12": 2},
        "classes": {},
        "captions": [[f"{i}.png", f"a patch of colour {i}"] for i in range(6)],
        "columns": ["file_name", "text", "subcategory"],
    }
    shown = run("data", "show", str(pictures), "--quiet").out
    assert "6 pictures, all of them readable" in shown
    assert "a patch of colour 5" in shown


def test_classes(run, tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
            Image.new("RGB", (5, 5)).save("one.png")
            archive.write("one.png", name)
    found = run("data", "show", str(tmp_path / "set.zip"), "--json", "--quiet").json
    assert (found["classes"], found["captions"]) == ({"cat": 2, "dog": 1}, [])


def test_neither_classes_nor_captions(run, tmp_path):
    Image.new("RGB", (5, 5)).save("one.png")
    assert "add a metadata.jsonl, or a folder for each class" in run("data", "show", ".", "--quiet").out


def test_a_broken_picture_is_named(run, pictures):
    (pictures / "3.png").write_bytes(b"no picture")
    done = run("data", "show", str(pictures), "--quiet")
    assert done.code == 2
    assert "3.png" in done.error
