"""Shards as WebDataset writes them: the same set as a folder, read in place, and the dangers refused."""

import io
import json
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from melies.data.archive import open_files
from melies.data.images import read_images
from melies.data.places import find_data
from melies.data.shards import key_of, shard_paths
from melies.errors import UserError


def png(level: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (level, 0, 0)).save(out, "png")
    return out.getvalue()


def write(path: Path, entries: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in entries.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def shards(tmp_path) -> str:
    """Six pictures in three shards, with a caption, a class and columns each."""
    for shard in range(3):
        entries = {}
        for number in (2 * shard, 2 * shard + 1):
            entries[f"{number:03d}.png"] = png(40 * number)
            entries[f"{number:03d}.txt"] = f"number {number}\n".encode()
            entries[f"{number:03d}.cls"] = b"odd" if number % 2 else b"even"
            entries[f"{number:03d}.json"] = json.dumps({"number": number}).encode()
        write(tmp_path / f"set-{shard:04d}.tar", entries)
    return str(tmp_path / "set-{0000..0002}.tar")


def test_a_set_in_shards_is_that_of_a_folder(shards, tmp_path):
    found = read_images(shards, size=8)
    assert found.texts == tuple(f"number {number}" for number in range(6))
    assert found.classes == ("even", "odd")
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1] * 3
    assert [row["number"] for row in found.rows] == list(range(6))
    assert found.pixels[:, 0, 0, 0].tolist() == [40 * number for number in range(6)]
    folder = tmp_path / "folder"
    folder.mkdir()
    rows = []
    for number in range(6):
        (folder / f"{number:03d}.png").write_bytes(png(40 * number))
        rows.append({"file_name": f"{number:03d}.png", "text": f"number {number}"})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert torch.equal(read_images(folder, size=8).pixels, found.pixels)


def test_a_part_is_read_from_its_place(shards):
    assert read_images(shards, size=8, limit=2).names == ("000.png", "003.png")
    assert find_data("emoji", shards) == Path(shards)
    with open_files(shards) as files:
        assert files.archive is None
        assert files.read("004.txt") == b"number 4\n"
        assert files.where("004.txt").endswith("set-0002.tar: 004.txt")


def test_names_stand_for_shards():
    assert shard_paths("pictures.zip") == ()
    assert key_of("a.b/0001.left.png") == "a.b/0001"
    with pytest.raises(UserError, match="no range"):
        shard_paths("x-{9..1}.tar")
    with pytest.raises(UserError, match=r"set-{3..5}".replace("{3..5}", "3")):
        shard_paths("set-{3..5}.tar")


def test_classes_that_are_numbers_are_in_their_order(tmp_path):
    entries = {}
    for number in (2, 10):
        entries |= {f"{number}.png": png(number), f"{number}.cls": str(number).encode()}
    found = read_images(write(tmp_path / "a.tar", entries), size=8)
    assert found.classes == ("2", "10")


def test_pictures_alone_have_neither_text_nor_class(tmp_path):
    found = read_images(write(tmp_path / "a.tar", {"0.png": png(0), "1.png": png(9)}), size=8)
    assert found.texts is None
    assert found.labels is None


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png"])
def test_names_that_leave_the_shard_are_refused(tmp_path, name):
    source = write(tmp_path / "a.tar", {name: png(0)})
    with pytest.raises(UserError, match="outside the archive"), open_files(source):
        pass


def test_links_compression_repeats_and_what_is_cut_short_are_refused(tmp_path):
    def refused(source, message):
        with pytest.raises(UserError, match=message), open_files(source):
            pass

    with tarfile.open(tmp_path / "link.tar", "w") as archive:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    refused(tmp_path / "link.tar", "no plain file")
    refused(write(tmp_path / "packed.tar", {"a.png": png(0)}, "w:gz"), "not compressed")
    for number in (1, 2):
        write(tmp_path / f"same-{number}.tar", {"a.png": png(0)})
    refused(tmp_path / "same-{1..2}.tar", r"this name is in .*same-1\.tar too")
    whole = write(tmp_path / "cut.tar", {"a.png": bytes(5000)})
    whole.write_bytes(whole.read_bytes()[:2000])
    refused(whole, "ends inside|no tar")


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff"])
def test_columns_that_are_no_object_are_named(tmp_path, content):
    source = write(tmp_path / "a.tar", {"0.png": png(0), "0.json": content})
    with pytest.raises(UserError, match=r"a\.tar: 0\.json"):
        read_images(source, size=8)
