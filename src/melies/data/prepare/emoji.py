"""The emoji set: every emoji of Unicode 16 in two drawing styles, 64×64 with transparency, and its words.

Pictures: Noto emoji (Apache 2.0) and Twemoji (CC-BY 4.0), as the packages `emoji-datasource-*` ship
them; words: `emojibase-data` (MIT), which follows Unicode CLDR.
"""

import io
import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from melies.data.archive import Files, open_files
from melies.data.metadata import check_texts, metadata_files, read_rows
from melies.data.places import FILES
from melies.data.prepare import npm
from melies.data.prepare.write import Prepared, check_output, write_zip
from melies.errors import UserError
from melies.progress import Progress, silent

SIZE = 64
COLUMNS = ("file_name", "text", "tags", "category", "subcategory", "style", "unified")
TONES = {
    "1F3FB": "light",
    "1F3FC": "medium-light",
    "1F3FD": "medium",
    "1F3FE": "medium-dark",
    "1F3FF": "dark",
}
"""Code point of a skin-tone modifier → its word."""

STYLES = {
    "noto": npm.Package(
        "emoji-datasource-google",
        "16.0.0",
        "ZRexfzs7MVoLnmzZmNsO4TKhnAJp5D++Vm6PpUpH/jEQQlemp3l88CjZ+DoZ2faM9R4QxZkOPJCoT8DlPhfQ3A==",
    ),
    "twemoji": npm.Package(
        "emoji-datasource-twitter",
        "16.0.0",
        "7F+uCuHH+7Qnrc15P5tnbvKkg9E6tlzi4MnT2uW1RlN4pLYTza6cP/dstIfSDMtpjFLWuZewWg8jBbuL2eyELQ==",
    ),
}
"""Drawing style → the package of its pictures."""

WORDS = npm.Package(
    "emojibase-data",
    "17.0.0",
    "Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
)

_LISTING, _DATA = "package/emoji.json", "package/en/data.json"


def prepare_emoji(out: Path, *, source: str | Path | None = None, progress: Progress = silent) -> Prepared:
    """Write the emoji set.

    Args:
        out: The zip to write, or the folder to write `emoji64.zip` into.
        source: None to fetch the packages with npm; a folder with their three `.tgz` files; or a zip or
            folder that already is this set, which is checked and written anew.
        progress: Shows the fetching and the writing.

    Raises:
        UserError: If a package cannot be had or is not the pinned one, the source is broken, or `out`
            is there already or cannot be written.
    """
    out = check_output(Path(out), FILES["emoji"])
    if source is None:
        with tempfile.TemporaryDirectory(prefix="melies-") as name:
            folder = Path(name)
            with progress("fetching packages", total=3, unit="package") as track:
                for package in (*STYLES.values(), WORDS):
                    npm.fetch(package, folder)
                    track.advance()
            return _from_tarballs(folder, out, "npm", progress)
    source = Path(source).expanduser()
    if (source / WORDS.tarball).is_file():
        for package in (*STYLES.values(), WORDS):
            if not (source / package.tarball).is_file():
                raise UserError(f"lacks {package.tarball}", where=str(source), remedy="npm pack it there")
            npm.check(source / package.tarball, package)
        return _from_tarballs(source, out, str(source), progress)
    with open_files(source) as files:
        rows = _checked_rows(files)
        count = _write(out, rows, ((name, _checked_picture(files, name)) for name in rows), progress)
    return Prepared(path=out, num_pictures=count, source=str(source))


def emoji_rows(
    entries: list[dict[str, Any]], words: list[dict[str, Any]], style: str
) -> Iterator[dict[str, Any]]:
    """The metadata rows of one style, in the order of the picture package.

    A skin-tone variant has the text of its parent with its tones after it ("mechanic, dark skin tone",
    "handshake, light skin tone and dark skin tone"; two equal tones are named once) and its tags.

    Args:
        entries: `emoji.json` of a picture package.
        words: `en/data.json` of emojibase.
        style: Name of the style, which is also the folder of its pictures.
    """
    by_code = {word["hexcode"]: word for word in words}
    for entry in entries:
        code = entry["unified"]
        word = by_code.get(code) or by_code.get(code.removesuffix("-FE0F"))
        if word is None:
            raise UserError(f"has no words for {code} ({entry.get('name')})", where=WORDS.tarball)
        for modifiers, variant in {"": entry, **entry.get("skin_variations", {})}.items():
            tones = list(dict.fromkeys(f"{TONES[one]} skin tone" for one in modifiers.split("-") if one))
            text = word["label"].lower()
            yield {
                "file_name": f"{style}/{variant['image']}",
                "text": f"{text}, {' and '.join(tones)}" if tones else text,
                "tags": word.get("tags", []),
                "category": entry["category"],
                "subcategory": entry["subcategory"],
                "style": style,
                "unified": variant["unified"],
            }


def _from_tarballs(folder: Path, out: Path, source: str, progress: Progress) -> Prepared:
    words = _json(npm.read_members(folder / WORDS.tarball, lambda name: name == _DATA), _DATA, WORDS)
    rows: dict[str, dict[str, Any]] = {}
    pictures: dict[str, bytes] = {}
    for style, package in STYLES.items():
        prefix = f"package/img/{package.name.removeprefix('emoji-datasource-')}/{SIZE}/"
        members = npm.read_members(
            folder / package.tarball, lambda name, prefix=prefix: name == _LISTING or name.startswith(prefix)
        )
        for row in emoji_rows(_json(members, _LISTING, package), words, style):
            name = row["file_name"]
            inside = prefix + name.removeprefix(f"{style}/")
            if inside not in members:
                raise UserError(f"lacks {inside}", where=package.tarball)
            rows[name], pictures[name] = row, members[inside]
    count = _write(out, rows, pictures.items(), progress)
    return Prepared(path=out, num_pictures=count, source=source)


def _json(members: Mapping[str, bytes], name: str, package: npm.Package) -> Any:
    try:
        return json.loads(members[name])
    except (KeyError, ValueError):
        raise UserError(f"lacks a readable {name}", where=package.tarball) from None


def _checked_rows(files: Files) -> dict[str, Mapping[str, Any]]:
    pictures = frozenset(name for name in files.names if name.lower().endswith(".png"))
    metadata = [name for name in metadata_files(files) if name == "metadata.jsonl"]
    if not metadata:
        raise UserError(
            "has no metadata.jsonl", where=str(files.source), remedy=f"it holds {', '.join(COLUMNS)}"
        )
    rows = read_rows(files, metadata[0], pictures)
    check_texts(list(rows.values()))
    for row in rows.values():
        missing = [column for column in COLUMNS if column not in row.columns]
        if missing:
            raise UserError(f"the row lacks {', '.join(missing)}", where=row.where)
    for name in sorted(pictures - rows.keys()):
        raise UserError(
            "has no row in metadata.jsonl", where=files.where(name), remedy="add a row or remove it"
        )
    return {name: {column: row.columns[column] for column in COLUMNS} for name, row in rows.items()}


def _checked_picture(files: Files, name: str) -> bytes:
    data = files.read(name, max_bytes=1 << 20)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # nothing of this size may trouble Pillow
            picture = Image.open(io.BytesIO(data), formats=("PNG",))
            if picture.size != (SIZE, SIZE):
                raise UserError(
                    f"is {picture.width}×{picture.height}, not {SIZE}×{SIZE}", where=files.where(name)
                )
            picture.load()
    except (OSError, SyntaxError, ValueError, Warning, Image.DecompressionBombError) as error:
        raise UserError(f"cannot be read as PNG ({error})", where=files.where(name)) from None
    return data


def _write(out: Path, rows: Mapping[str, Mapping[str, Any]], pictures: Any, progress: Progress) -> int:
    with progress("writing pictures", total=len(rows), unit="picture") as track:

        def entries() -> Iterator[tuple[str, bytes]]:
            for name, data in pictures:
                yield name, data
                track.advance()
            yield "metadata.jsonl", "\n".join(json.dumps(row) for row in rows.values()).encode()

        return write_zip(out, entries()) - 1
