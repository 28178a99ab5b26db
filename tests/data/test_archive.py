"""Folders and zips as collections of files: the same names either way, and the dangers refused."""

import stat
import zipfile
from pathlib import Path

import pytest

from melies.data import archive
from melies.data.archive import open_files, safe_name
from melies.errors import UserError


def make_zip(path: Path, entries, **options) -> Path:
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, data in entries:
            file.writestr(name, data)
    return path


def test_a_folder_and_its_zip_hold_the_same(tmp_path):
    entries = {
        "b/2.png": b"two",
        "a/1.png": b"one",
        "metadata.jsonl": b"{}",
        "__MACOSX/x": b"",
        ".hidden": b"",
    }
    for name, data in entries.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    packed = make_zip(tmp_path / "x.zip", entries.items())
    for source in (tmp_path / "folder", packed):
        with open_files(source) as files:
            assert files.names == ("a/1.png", "b/2.png", "metadata.jsonl")
            assert files.read("b/2.png") == b"two"


@pytest.mark.parametrize(
    "name", ["../a.png", "a/../../b.png", "/etc/a.png", "..\\a.png", "C:/a.png", "\\a.png"]
)
def test_names_that_leave_the_archive_are_refused(tmp_path, name):
    packed = make_zip(tmp_path / "x.zip", [(zipfile.ZipInfo(name), b"")])
    with pytest.raises(UserError, match="outside the archive"), open_files(packed):
        pass


@pytest.mark.parametrize("name", ["a.png", "a/b..c.png", "..a/b.png", "c:d.png/e"])
def test_ordinary_names_are_safe_unless_they_name_a_drive(name):
    assert safe_name(name) == (not name.startswith("c:"))


def test_links_are_refused(tmp_path):
    info = zipfile.ZipInfo("a.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with (
        pytest.raises(UserError, match=r"'a\.png': is a link"),
        open_files(make_zip(tmp_path / "x.zip", [(info, "/etc")])),
    ):
        pass


def test_a_loop_of_folder_links_ends(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path)
    with open_files(tmp_path) as files:
        assert files.names == ("a.png",)


def test_a_name_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        packed = make_zip(tmp_path / "x.zip", [("a.png", b"1"), ("a.png", b"2")])
    with pytest.raises(UserError, match=r"'a\.png': this name is in the zip twice"), open_files(packed):
        pass


def test_one_file_that_unpacks_to_far_more_is_a_bomb(tmp_path):
    packed = make_zip(tmp_path / "x.zip", [("a.png", bytes(32 << 20))], compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match=r"'a\.png': .*zip bomb"), open_files(packed):
        pass


def test_many_small_files_that_unpack_to_far_more_are_a_bomb(tmp_path):
    entries = [(f"{index}.png", bytes(2 << 20)) for index in range(12)]
    packed = make_zip(tmp_path / "x.zip", entries, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="zip bomb"), open_files(packed):
        pass


def test_too_many_entries_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_ENTRIES", 3)
    packed = make_zip(tmp_path / "x.zip", [(f"{index}.png", b"") for index in range(4)])
    with pytest.raises(UserError, match="4 entries, more than 3"), open_files(packed):
        pass


def test_encrypted_files_are_refused(tmp_path):
    packed = make_zip(tmp_path / "x.zip", [("a.png", b"1")])
    data = bytearray(packed.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag in the directory of the archive
    packed.write_bytes(data)
    with pytest.raises(UserError, match="encrypted"), open_files(packed):
        pass


def test_a_damaged_entry_is_named(tmp_path):
    packed = make_zip(tmp_path / "x.zip", [("a.png", b"first"), ("b.png", b"second")])
    packed.write_bytes(packed.read_bytes().replace(b"second", b"zecond"))
    with open_files(packed) as files:
        assert files.read("a.png") == b"first"
        with pytest.raises(UserError, match=r"x\.zip: b\.png: cannot be read"):
            files.read("b.png")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04cut"])
def test_what_is_no_zip_is_refused(tmp_path, content):
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    with pytest.raises(UserError, match="neither a folder nor a readable zip"), open_files(path):
        pass


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"), open_files(tmp_path / "x"):
        pass


def test_a_file_above_the_limit_is_not_read(tmp_path):
    (tmp_path / "a.png").write_bytes(b"12345")
    with open_files(tmp_path) as files, pytest.raises(UserError, match="5 bytes is more than the 4"):
        files.read("a.png", max_bytes=4)
