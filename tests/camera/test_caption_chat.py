"""A language model is asked for captions as the paper has it, and once more where it counts frames."""

import pytest

from melies.camera.caption_chat import AGAIN, ask_caption
from melies.camera.tag import Segment
from melies.errors import UserError
from melies.text.chat import CachedChat, ChatConfig, Reply

CAMERA = [Segment(9, 0, 60), Segment(0, 60, 120)]
CHARACTER = [Segment(18, 0, 120)]


class Scripted:
    """Says what it is told to, in turn."""

    identity = "scripted"

    def __init__(self, *lines):
        self.lines, self.asked = list(lines), []

    def ask(self, messages):
        self.asked.append(list(messages))
        return Reply(self.lines.pop(0), 1, 1)

    def score(self, messages, options):
        return None


def test_the_outline_is_asked_about_after_an_example():
    model = Scripted('"The camera trucks right,\n then stops."')
    caption = ask_caption(CachedChat(model, ChatConfig()), CAMERA, CHARACTER)
    assert caption == "The camera trucks right, then stops."
    roles = [message.role for message in model.asked[0]]
    assert roles == ["system", "user", "assistant", "user"]
    asked = model.asked[0][-1].text
    assert "Between frames 0 and 59: trucking_right" in asked
    assert "[Main character motion]" in asked


def test_numbers_are_taken_out_once():
    model = Scripted("From frame 0 it trucks right.", "It trucks right.")
    assert ask_caption(CachedChat(model, ChatConfig()), CAMERA) == "It trucks right."
    assert model.asked[1][-1].text == AGAIN
    for lines in (("0", "still 1"), ("",), ("x" * 700,)):
        with pytest.raises(UserError, match="where a caption is wanted"):
            ask_caption(CachedChat(Scripted(*lines), ChatConfig()), CAMERA)
