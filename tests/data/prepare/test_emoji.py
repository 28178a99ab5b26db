"""The emoji set from small stand-ins for its packages, and from itself."""

import base64
import hashlib
import io
import json
import os
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from melies.data.archive import open_files
from melies.data.images import read_images
from melies.data.prepare import emoji, npm
from melies.data.prepare.emoji import emoji_rows, prepare_emoji
from melies.errors import UserError


def picture(value: int = 0, side: int = 64) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", (side, side), (value, value, value, 255)).save(file, "PNG")
    return file.getvalue()


ENTRIES = [
    {
        "unified": "1F91D",
        "image": "1f91d.png",
        "category": "People & Body",
        "subcategory": "hands",
        "skin_variations": {
            "1F3FF": {"unified": "1F91D-1F3FF", "image": "1f91d-1f3ff.png"},
            "1F3FB-1F3FE": {"unified": "X-Y", "image": "x-y.png"},
            "1F3FC-1F3FC": {"unified": "Z-Z", "image": "z-z.png"},
        },
    },
    {"unified": "00A9-FE0F", "image": "00a9-fe0f.png", "category": "Symbols", "subcategory": "other-symbol"},
]
WORDS = [
    {"hexcode": "1F91D", "label": "Handshake", "tags": ["deal"]},
    {"hexcode": "00A9", "label": "copyright", "tags": ["c"]},
]
TEXTS = [
    "handshake",
    "handshake, dark skin tone",
    "handshake, light skin tone and medium-dark skin tone",
    "handshake, medium-light skin tone",
    "copyright",
]


def tarball(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def packages(tmp_path, monkeypatch) -> Path:
    """A folder with three small packages, and their checksums where the real ones stand."""
    folder = tmp_path / "packages"
    folder.mkdir()

    def pinned(package: npm.Package, files: dict[str, bytes]) -> npm.Package:
        path = tarball(folder / package.tarball, files)
        digest = hashlib.sha512(path.read_bytes()).digest()
        return package._replace(sha512=base64.b64encode(digest).decode())

    styles = {}
    for value, (style, package) in enumerate(emoji.STYLES.items()):
        inside = f"package/img/{package.name.removeprefix('emoji-datasource-')}/64"
        images = [
            ENTRIES[0]["image"],
            *(v["image"] for v in ENTRIES[0]["skin_variations"].values()),
            ENTRIES[1]["image"],
        ]
        files = {f"{inside}/{image}": picture(value) for image in images}
        styles[style] = pinned(
            package, files | {"package/emoji.json": json.dumps(ENTRIES).encode(), "../evil": b"x"}
        )
    monkeypatch.setattr(emoji, "STYLES", styles)
    monkeypatch.setattr(
        emoji, "WORDS", pinned(emoji.WORDS, {"package/en/data.json": json.dumps(WORDS).encode()})
    )
    return folder


def test_texts_name_the_tones():
    rows = list(emoji_rows(ENTRIES, WORDS, "noto"))
    assert [row["text"] for row in rows] == TEXTS
    assert [row["file_name"] for row in rows[:2]] == ["noto/1f91d.png", "noto/1f91d-1f3ff.png"]
    assert rows[2]["tags"] == ["deal"]
    assert tuple(rows[0]) == emoji.COLUMNS


def test_an_emoji_without_words_is_refused():
    with pytest.raises(UserError, match="no words for 00A9-FE0F"):
        list(emoji_rows(ENTRIES, WORDS[:1], "noto"))


def test_the_emoji_set_from_tarballs_and_from_itself(tmp_path, packages):
    first = prepare_emoji(tmp_path / "first.zip", source=packages)
    assert first.num_pictures == 10
    found = read_images(first.path, size=64)
    assert sorted(found.texts or ()) == sorted(TEXTS * 2)
    assert {row["style"] for row in found.rows} == {"noto", "twemoji"}
    again = prepare_emoji(tmp_path / "again.zip", source=first.path)
    assert again.path.read_bytes() == first.path.read_bytes()


def test_the_emoji_set_through_the_client(tmp_path, packages, monkeypatch):
    client = tmp_path / "bin" / "npm"
    client.parent.mkdir()
    client.write_text(
        f"#!{sys.executable}\n"
        "import shutil, sys\n"
        "verb, spec, flag, folder, scripts = sys.argv[1:]\n"
        "assert (verb, flag, scripts) == ('pack', '--pack-destination', '--ignore-scripts')\n"
        f"shutil.copy({str(packages)!r} + '/' + spec.replace('@', '-') + '.tgz', folder)\n"
    )
    client.chmod(0o755)
    monkeypatch.setenv("PATH", str(client.parent))
    (tmp_path / "out").mkdir()
    made = prepare_emoji(tmp_path / "out")
    assert made.path == tmp_path / "out" / "emoji64.zip"
    assert made.num_pictures == 10
    client.write_text("#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\nexit 1\n")
    with pytest.raises(
        UserError, match=r"could not fetch emoji-datasource-google@16\.0\.0 \(npm error code ENOTFOUND\)"
    ):
        prepare_emoji(tmp_path / "b.zip")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="npm is needed"):
        prepare_emoji(tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


def test_a_package_with_other_content_is_refused(tmp_path, packages):
    path = packages / emoji.WORDS.tarball
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"emojibase-data 17\.0\.0 as published \(its SHA-512 differs\)"):
        prepare_emoji(tmp_path / "a.zip", source=packages)


def test_a_missing_package_is_named(tmp_path, packages):
    (packages / "emoji-datasource-twitter-16.0.0.tgz").unlink()
    with pytest.raises(UserError, match=r"lacks emoji-datasource-twitter-16\.0\.0\.tgz"):
        prepare_emoji(tmp_path / "a.zip", source=packages)


def test_links_in_a_tarball_are_not_followed(tmp_path):
    path = tmp_path / "x.tgz"
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("package/a")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert npm.read_members(path, lambda name: True) == {}


def test_a_tarball_with_a_huge_member_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(npm, "MAX_MEMBER_BYTES", 10)
    with pytest.raises(UserError, match="too large"):
        npm.read_members(tarball(tmp_path / "x.tgz", {"a": bytes(11)}), lambda name: True)


def test_a_tarball_cut_short_is_refused(tmp_path):
    path = tarball(tmp_path / "x.tgz", {"a": os.urandom(10_000)})
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match="cannot be read"):
        npm.read_members(path, lambda name: True)


ROW = dict.fromkeys(emoji.COLUMNS, "x") | {"file_name": "a.png", "tags": []}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.png": picture()}, r"has no metadata\.jsonl"),
        (
            {"metadata.jsonl": json.dumps({"file_name": "a.png", "text": "x"}), "a.png": picture()},
            "line 1: the row lacks tags",
        ),
        ({"metadata.jsonl": json.dumps(ROW), "a.png": picture(), "b.png": picture()}, r"b\.png: has no row"),
        ({"metadata.jsonl": json.dumps(ROW), "a.png": picture(side=32)}, "is 32×32, not 64×64"),
        ({"metadata.jsonl": json.dumps(ROW), "a.png": picture()[:60]}, r"a\.png: cannot be read as PNG"),
        ({"metadata.jsonl": json.dumps(ROW | {"text": ""}), "a.png": picture()}, "line 1: 'text' is empty"),
    ],
)
def test_a_broken_emoji_set_is_refused_and_nothing_is_left(tmp_path, files, message):
    source = tmp_path / "set"
    source.mkdir()
    for name, data in files.items():
        (source / name).write_bytes(data.encode() if isinstance(data, str) else data)
    with pytest.raises(UserError, match=message):
        prepare_emoji(tmp_path / "out.zip", source=source)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_the_real_emoji_set_is_one_this_makes(shared_data, tmp_path):
    source = shared_data / "emoji64.zip"
    if not source.is_file():
        pytest.skip(f"no {source}")
    with open_files(source) as files:
        rows = emoji._checked_rows(files)
    assert len(rows) == 7572
    tones = {
        tone for row in rows.values() for tone in emoji.TONES.values() if f", {tone} skin tone" in row["text"]
    }
    assert tones == set(emoji.TONES.values())
