"""Zips that are written: all or nothing, and the same bytes every time."""

import stat
import zipfile

import pytest

from melies.data.prepare.write import check_output, write_zip
from melies.errors import UserError


def test_equal_content_makes_equal_bytes(tmp_path):
    for name in ("a.zip", "b.zip"):
        assert write_zip(tmp_path / name, [("x.png", b"1"), ("metadata.jsonl", b"2")]) == 2
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_full_disk_leaves_nothing(tmp_path):
    def entries():
        yield "a.png", b"1"
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"cannot be written: No space left on device"):
        write_zip(tmp_path / "new" / "x.zip", entries())
    assert list((tmp_path / "new").iterdir()) == []


def test_an_interruption_leaves_nothing(tmp_path):
    def entries():
        yield "a.png", b"1"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_zip(tmp_path / "x.zip", entries())
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "x.zip").touch()
    with pytest.raises(UserError, match="is there already"):
        check_output(tmp_path / "x.zip", "x.zip")
    with pytest.raises(UserError, match="is there already"):
        check_output(tmp_path, "x.zip")
    with pytest.raises(UserError, match=r"ends in \.zip"):
        check_output(tmp_path / "x", "x.zip")


def test_files_in_the_zip_are_readable_by_all(tmp_path):
    write_zip(tmp_path / "x.zip", [("a.png", b"1")])
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert stat.S_IMODE(archive.getinfo("a.png").external_attr >> 16) == 0o644
