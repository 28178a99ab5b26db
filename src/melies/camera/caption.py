"""Words for what a camera and a character do: the outline of E.T., and sentences from a small grammar.

The outline is what Courant et al. (2024, §3.3) hand to a language model. The grammar needs no model: its
sentences say the same moves in the same order in many ways, so that it also makes training texts.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from melies.camera.labels import STATIC, camera_name, character_name, moves_of
from melies.camera.tag import Segment

Move = tuple[int, int]
Verbs = Mapping[Move, tuple[tuple[str, str], ...]]
"""(axis, sign) → ways to say it, each as "moves" and "moving"."""

CAMERA_VERBS: Verbs = {
    (0, 1): (("trucks right", "trucking right"), ("moves right", "moving right")),
    (0, -1): (("trucks left", "trucking left"), ("moves left", "moving left")),
    (1, 1): (("booms bottom", "booming bottom"), ("booms down", "booming down"), ("lowers", "lowering")),
    (1, -1): (("booms top", "booming top"), ("booms up", "booming up"), ("rises", "rising")),
    (2, 1): (("pushes in", "pushing in"), ("dollies in", "dollying in"), ("moves forward", "moving forward")),
    (2, -1): (("pulls out", "pulling out"), ("dollies out", "dollying out"), ("moves back", "moving back")),
}
CAMERA_STILL = (("remains static", "remaining static"), ("stays static", "staying static"))
CAMERA_STOPS = (("remains static", "remaining static"), ("comes to a stop", "coming to a stop"))
"""What it does when it moved before."""

CHARACTER_VERBS: Verbs = {
    (0, 1): (("moves right", "moving right"), ("moves to the right", "moving to the right")),
    (0, -1): (("moves left", "moving left"), ("moves to the left", "moving to the left")),
    (1, 1): (("moves down", "moving down"), ("climbs down", "climbing down")),
    (1, -1): (("moves up", "moving up"), ("climbs up", "climbing up")),
    (2, 1): (("moves forward", "moving forward"), ("advances", "advancing")),
    (2, -1): (("moves backward", "moving backward"), ("moves back", "moving back")),
}
CHARACTER_STILL = (("remains stationary", "remaining stationary"), ("stays still", "staying still"))
CHARACTER_STOPS = (("stops", "stopping"), ("comes to a stop", "coming to a stop"))

TOGETHER = 20
"""Frames apart up to which two changes are told as one."""

PRESENT, GERUND = 0, 1


def outline(camera: Sequence[Segment], character: Sequence[Segment]) -> str:
    """The moves with their frames, in the form that E.T. gives to a language model."""
    told = [f"Total frames {camera[-1].end - 1}; [Camera motion] {_listed(camera, camera_name)}."]
    if character:
        told.append(f"[Main character motion] {_listed(character, character_name)}.")
    return " ".join(told)


def write_caption(
    camera: Sequence[Segment], character: Sequence[Segment] = (), *, rng: np.random.Generator
) -> str:
    """A sentence that says what the camera does, and the character where it is given.

    Every move is said, in its order; whether the character or the camera comes first, and by which verbs,
    is drawn from `rng`.
    """
    c = _phrases(camera, CAMERA_VERBS, CAMERA_STILL, CAMERA_STOPS, rng)
    if not character:
        return f"The camera {_in_turn([one[PRESENT] for one in c])}."
    h = _phrases(character, CHARACTER_VERBS, CHARACTER_STILL, CHARACTER_STOPS, rng)
    if _together(camera, character):
        return _change_by_change(camera, character, c, h, rng)
    camera_says = f"the camera {_in_turn([one[PRESENT] for one in c])}"
    character_says = f"the character {_in_turn([one[PRESENT] for one in h])}"
    word = str(rng.choice(["while", "as"]))
    if rng.random() < 0.5:
        return _sentence(f"{word} {character_says}, {camera_says}")
    return _sentence(f"{camera_says} {word} {character_says}")


def follow_caption(camera: Sequence[Segment], character: Sequence[Segment], rng: np.random.Generator) -> str:
    """A sentence for a camera that goes with its character, and does not say where they go."""
    stops = character[-1].label == STATIC and len(character) > 1
    ways = ("follows the character", "moves along with the character", "tracks the character")
    end = " and stops with them" if stops and camera[-1].label == STATIC else ""
    return f"The camera {rng.choice(ways)}{end}."


def _change_by_change(
    camera: Sequence[Segment],
    character: Sequence[Segment],
    c: list[tuple[str, str]],
    h: list[tuple[str, str]],
    rng: np.random.Generator,
) -> str:
    """Camera and character change at the same moments: each change of the one beside that of the other."""
    told = f"the camera {c[0][PRESENT]}"
    first = f"while the character {h[0][PRESENT]}"
    text = f"{first}, {told}" if rng.random() < 0.5 else f"{told} {first}"
    for index in range(1, len(c)):
        when = "once" if character[index].label == STATIC else "as"
        if rng.random() < 0.5:
            text += f", and {c[index][PRESENT]} {when} the character {h[index][PRESENT]}"
        else:
            text += f", followed by {c[index][GERUND]} {when} the character {h[index][PRESENT]}"
    return _sentence(text)


def _together(camera: Sequence[Segment], character: Sequence[Segment]) -> bool:
    return len(camera) == len(character) > 1 and all(
        abs(one.start - other.start) <= TOGETHER for one, other in zip(camera, character, strict=True)
    )


def _phrases(
    segments: Sequence[Segment],
    verbs: Verbs,
    still: Sequence[tuple[str, str]],
    stops: Sequence[tuple[str, str]],
    rng: np.random.Generator,
) -> list[tuple[str, str]]:
    """Each segment in words, as it stands in a sentence and as a gerund."""
    said = []
    for index, segment in enumerate(segments):
        moves = moves_of(segment.label)
        if not moves:
            ways = stops if index else still
            said.append(ways[int(rng.integers(len(ways)))])
            continue
        chosen = [verbs[move][int(rng.integers(len(verbs[move])))] for move in moves]
        present, gerund = (_joined([one[form] for one in chosen]) for form in (PRESENT, GERUND))
        said.append((present, gerund))
    return said


def _joined(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _in_turn(words: Sequence[str]) -> str:
    """`["a", "b", "c"] → "a, then b, and finally c"`."""
    if len(words) < 3:
        return " and then ".join(words)
    return ", then ".join(words[:-1]) + f", and finally {words[-1]}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _listed(segments: Sequence[Segment], name: Callable[[int], str]) -> str:
    return ";".join(f"Between frames {one.start} and {one.end - 1}: {name(one.label)}" for one in segments)
