"""Held-out rows are decided by their own text."""

import json
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from melies.data.splits import held_out, split_by_hash

# CRC-32 of these is known: 0xCBF43926 is the check value of the standard.
KNOWN = {"123456789": 0xCBF43926, "": 0x00000000, "a": 0xE8B7BE43}


@pytest.mark.parametrize(("key", "crc"), KNOWN.items())
def test_the_hash_is_the_standard_one(key, crc):
    for remainder in range(10):
        assert bool(split_by_hash([key], remainder=remainder)[0]) == (crc % 10 == remainder)


@given(st.lists(st.text(max_size=10)))
def test_each_key_falls_into_one_part(keys):
    parts = [split_by_hash(keys, modulus=3, remainder=part).tolist() for part in range(3)]
    assert all(sum(sides) == 1 for sides in zip(*parts, strict=True))


@given(st.text(max_size=20), st.sampled_from(["", ", dark skin tone"]))
def test_only_texts_with_a_tone_are_held_out_and_in_every_style(text, tone):
    caption = text + tone
    mask = held_out([{"text": caption, "style": style} for style in ("noto", "twemoji")])
    expected = "skin tone" in caption and zlib.crc32(caption.encode()) % 10 == 0
    assert mask.tolist() == [expected] * 2


def test_a_bad_remainder_is_refused():
    with pytest.raises(ValueError, match="remainder < modulus"):
        split_by_hash(["a"], remainder=10)


def test_the_emoji_set(shared_data):
    source = shared_data / "emoji64.zip"
    if not source.is_file():
        pytest.skip(f"no {source}")
    with zipfile.ZipFile(source) as archive:
        rows = [json.loads(line) for line in archive.read("metadata.jsonl").decode().splitlines()]
    mask = held_out(rows)
    assert int(mask.sum()) == 326
    unseen = {row["text"] for row, out in zip(rows, mask.tolist(), strict=True) if out}
    assert unseen.isdisjoint(row["text"] for row, out in zip(rows, mask.tolist(), strict=True) if not out)
