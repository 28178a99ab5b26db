"""Which pictures are held out: of the project's own set some, of a user's none."""

import json

import pytest
from PIL import Image

from melies.data.emoji import read_emoji
from melies.data.splits import held_out
from melies.errors import UserError

TEXTS = [f"shape {number}, dark skin tone" for number in range(60)]


def write(folder, texts, **columns):
    folder.mkdir()
    rows = [{"file_name": f"{i}.png", "text": text, **columns} for i, text in enumerate(texts)]
    for row in rows:
        Image.new("RGB", (4, 4)).save(folder / row["file_name"])
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_only_rows_of_the_own_set_are_held_out(tmp_path):
    count = int(held_out([{"text": text} for text in TEXTS]).sum())
    assert count > 0
    ours = read_emoji(write(tmp_path / "ours", TEXTS, unified="1F600"), size=8)
    theirs = read_emoji(write(tmp_path / "theirs", TEXTS), size=8)
    assert (len(ours.training()), len(ours.unseen())) == (60 - count, count)
    assert (len(theirs.training()), len(theirs.unseen())) == (60, 0)


def test_nothing_to_train_on_is_a_mistake(tmp_path):
    unseen = [text for text in TEXTS if held_out([{"text": text}]).any()]
    emoji = read_emoji(write(tmp_path / "ours", unseen, unified="1F600"), size=8)
    with pytest.raises(UserError, match="every picture is held out of training"):
        emoji.training()
