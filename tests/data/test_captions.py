"""Wordings of a picture: what they keep, how English they are, and how often each is drawn."""

import json
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.data.captions import (
    MAX_VARIANTS,
    caption_table,
    caption_variants,
    split_tone,
    weighted_captions,
    with_article,
)

MECHANIC = {
    "text": "mechanic, dark skin tone",
    "tags": ["electrician", "plumber", "mechanic"],
    "style": "noto",
    "subcategory": "person-role",
}
BEAR = {"text": "polar bear", "tags": ["arctic"], "style": "noto", "subcategory": "animal-mammal"}

words = st.text(st.characters(categories=["Ll"], max_codepoint=127), min_size=1, max_size=8)
rows = st.fixed_dictionaries(
    {
        "text": st.builds(
            lambda subject, tone: f"{subject}{tone}",
            st.lists(words, min_size=1, max_size=4).map(" ".join),
            st.sampled_from(["", ", dark skin tone", ", light skin tone and medium-dark skin tone"]),
        ),
        "tags": st.lists(words, max_size=5),
        "style": st.sampled_from(["noto", "twemoji", ""]),
        "subcategory": st.sampled_from(["person", "time", "tool"]),
    }
)


def test_the_wordings_of_one_row():
    assert caption_variants(MECHANIC) == (
        "mechanic, dark skin tone",
        "a mechanic, dark skin tone",
        "a mechanic with dark skin tone",
        "a mechanic, dark skin tone, noto style",
        "mechanic, dark skin tone, noto",
        "noto style mechanic, dark skin tone",
        "mechanic plumber, dark skin tone",
        "plumber electrician, dark skin tone",
        "emoji of a mechanic, dark skin tone",
    )


def test_what_users_write_is_among_them():
    assert {"a polar bear", "a polar bear, noto style", "polar bear"} <= set(caption_variants(BEAR))


@given(rows)
def test_wordings_are_few_distinct_and_keep_the_tone(row):
    captions = weighted_captions(row)
    texts = [caption.text for caption in captions]
    assert 1 <= len(texts) == len(set(texts)) <= MAX_VARIANTS
    assert texts[0] == row["text"]
    assert sum(caption.weight for caption in captions) == pytest.approx(1.0)
    assert all(caption.weight > 0 for caption in captions)
    tone = split_tone(row["text"])[1]
    assert all(tone in text for text in texts)
    assert weighted_captions(dict(row)) == captions


def test_somebodys_own_captions_stay_as_they_are():
    assert caption_variants({"text": "Two dogs play in the snow."}) == ("Two dogs play in the snow.",)


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("polar bear", "a polar bear"),
        ("artist", "an artist"),
        ("unicorn", "a unicorn"),
        ("umbrella", "an umbrella"),
        ("x-ray", "an x-ray"),
        ("t-rex", "a t-rex"),
        ("hourglass done", "an hourglass done"),
        ("1st place medal", "a 1st place medal"),
        ("8-ball", "an 8-ball"),
        ("scissors", "scissors"),
        ("people holding hands", "people holding hands"),
        ("women wrestling", "women wrestling"),
        ("bus", "a bus"),
        ("cactus", "a cactus"),
        ("fork and knife with plate", "a fork and knife with plate"),
        ("cherries", "cherries"),
        ("man in lotus position", "a man in lotus position"),
        ("man running", "a man running"),
        ("bowling", "bowling"),
        ("four leaf clover", "four leaf clover"),
        ("popcorn", "popcorn"),
        ("flag of croatia", "the flag of croatia"),
        ("“here” button", "“here” button"),
        ("+", "+"),
    ],
)
def test_articles(subject, expected):
    assert with_article(subject) == expected


def test_names_of_signs_take_no_article():
    assert with_article("libra", "zodiac") == "libra"


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("flag: croatia", "the flag of croatia"),
        ("keycap: 5", "keycap 5"),
        ("woman: curly hair", "a woman with curly hair"),
        ("man: bald", "a bald man"),
        ("man running: facing right", "a man running facing right"),
        ("kiss: woman, man", "a kiss, woman, man"),
    ],
)
def test_colons_are_spoken(text, spoken):
    subcategory = "keycap" if text.startswith("keycap") else "person"
    assert (
        caption_variants({"text": text, "tags": ["x"], "style": "noto", "subcategory": subcategory})[1]
        == spoken
    )


def test_tone_is_split_off_the_end_only():
    assert split_tone("kiss: man, man, dark skin tone") == ("kiss: man, man", "dark skin tone")
    assert split_tone("medium skin tone") == ("medium skin tone", "")
    assert split_tone("family: man, boy") == ("family: man, boy", "")


def test_the_table_draws_each_wording_by_its_weight():
    table = caption_table([BEAR, MECHANIC, {"text": "own"}])
    count = 20_000
    drawn = table.at(torch.zeros(count, dtype=torch.int64), 0, seed=0)
    for caption in weighted_captions(BEAR):
        share = float((drawn == table.texts.index(caption.text)).double().mean())
        assert share == pytest.approx(caption.weight, abs=5 * (caption.weight / count) ** 0.5)
    own = table.at(torch.full((100,), 2), 0, seed=0)
    assert {table.texts[index] for index in own.tolist()} == {"own"}


@given(start=st.integers(0, 1000), cut=st.integers(0, 64))
def test_the_table_is_a_function_of_the_position(start, cut):
    table = caption_table([BEAR, MECHANIC])
    pictures = torch.arange(64) % 2
    whole = table.at(pictures, start, seed=5)
    parts = [table.at(pictures[:cut], start, seed=5), table.at(pictures[cut:], start + cut, seed=5)]
    torch.testing.assert_close(whole, torch.cat(parts))


def test_the_emoji_set(shared_data):
    source = shared_data / "emoji64.zip"
    if not source.is_file():
        pytest.skip(f"no {source}")
    with zipfile.ZipFile(source) as archive:
        found = [json.loads(line) for line in archive.read("metadata.jsonl").decode().splitlines()]
    for row in found[::29]:
        tone = split_tone(row["text"])[1]
        assert bool(tone) == ("skin tone" in row["text"] and row["subcategory"] != "skin-tone")
        texts = caption_variants(row)
        assert len(texts) >= 4
        assert all(tone in text and "  " not in text for text in texts)
