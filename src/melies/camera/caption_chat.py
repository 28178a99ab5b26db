"""Captions by a language model, from the outline of what camera and character do.

Courant et al. (2024), §3.3, ask Mistral 7B with an example, and once more where frame numbers slip in; what
they ask for is asked for here, in words of our own.
"""

from collections.abc import Sequence

from melies.camera.caption import outline
from melies.camera.tag import Segment
from melies.errors import UserError
from melies.text.chat import CachedChat, Message

ROLE = (
    "You are a camera operator who writes down shots. You are given which motion the camera makes between"
    " which frames, and, where there is one, what the main character does meanwhile. Say in one or two plain"
    " English sentences what happens, in its order."
)
RULES = "Be short and factual, add nothing, and do not mention frames or numbers."
EXAMPLE = (Segment(9, 0, 60), Segment(0, 60, 120)), (Segment(9, 0, 60), Segment(0, 60, 120))
"""The camera trucks right and is static, and the character goes right and stops."""
EXAMPLE_CAPTION = (
    "While the character moves right, the camera trucks right, and stays static once the character stops."
)
AGAIN = "Leave out the frames and all numbers."
LONGEST = 600
"""Characters of a caption."""


def ask_caption(chat: CachedChat, camera: Sequence[Segment], character: Sequence[Segment] = ()) -> str:
    """A caption of one line.

    Args:
        chat: Who is asked.
        camera: What the camera does.
        character: What the character does; none for the caption of the camera alone.

    Raises:
        UserError: If the model cannot be asked, or says nothing, or numbers twice.
    """
    messages = [
        Message("system", f"{ROLE} {RULES}"),
        Message("user", outline(*EXAMPLE)),
        Message("assistant", EXAMPLE_CAPTION),
        Message("user", outline(camera, character)),
    ]
    caption = _line(chat.ask(messages).text)
    if any(letter.isdigit() for letter in caption):
        messages += [Message("assistant", caption), Message("user", AGAIN)]
        caption = _line(chat.ask(messages).text)
    if not caption or any(letter.isdigit() for letter in caption) or len(caption) > LONGEST:
        raise UserError(
            f"the language model says {caption[:80]!r} where a caption is wanted", remedy="try another model"
        )
    return caption


def _line(text: str) -> str:
    return " ".join(text.split()).strip('"')
