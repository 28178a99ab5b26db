"""Several ways to word one picture, so that a model learns the words and not the form of a caption.

The rows of the emoji set carry `text`, `tags` and `style`; a row without tags and style (somebody's
own captions) keeps its text as it is.
"""

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from melies.data.balance import uniform_at

MAX_VARIANTS = 10

_PEOPLE = frozenset(("man", "woman", "person", "boy", "girl", "child", "baby", "adult"))
_MASS = frozenset(
    "bacon beans bread broccoli butter cheese clothing confetti curry dna fire fog fuel garlic ginger gear"
    " hair honey ice lacrosse laundry luggage meat milk money mud music paper popcorn rice rock salt sake"
    " sand sashimi seaweed snow spaghetti steam sushi tea thread tofu toothpaste water wine wood yarn"
    " yen".split()
)
_SINGULAR_S = ("ss", "us", "is", "as", "os")
_PLURAL = frozenset("people men women children feet teeth mice geese dice palms skis maracas".split())
_NOUNS_ING = frozenset("ring wing king building dumpling seedling".split())
_BARE_GROUPS = frozenset("zodiac time alphanum math keycap skin-tone".split())
"""Sub-categories whose names take no article ("libra", "two-thirty")."""
_BREAK = re.compile(r" (?:with|without|of|in|on|and|at|from|to|behind|facing|over|under|showing|wearing) ")
_DETERMINED = re.compile(r"(?:an?|the|one|two|three|four|five|no|my|some) ")


class Caption(NamedTuple):
    """One wording and how often it is to be drawn."""

    text: str
    weight: float
    """Share among the wordings of its picture; they sum to 1."""


def weighted_captions(row: Mapping[str, Any]) -> tuple[Caption, ...]:
    """The wordings of one row, at most `MAX_VARIANTS`, always the same and in the same order.

    Every wording keeps the full skin-tone phrase of the text, which is what tells such pictures apart.

    Args:
        row: `text`; optionally `tags` (words), `style` and `subcategory`.
    """
    text, style = str(row["text"]), str(row.get("style") or "")
    tags = _fresh_tags(row.get("tags") or (), text)
    if not style and not row.get("tags"):
        return (Caption(text, 1.0),)
    subject, tone = split_tone(text)
    plain = _unpunctuated(subject)
    article = with_article(plain, str(row.get("subcategory") or ""))
    ending = f", {tone}" if tone else ""
    weights: dict[str, float] = {}

    def add(wording: str, weight: float) -> None:
        weights[wording] = weights.get(wording, 0.0) + weight  # equal wordings share one entry

    add(text, 3.0)
    add(article + ending, 3.0)
    if tone:
        add(f"{article} with {tone}", 1.0)
    if style:
        add(f"{article}{ending}, {style} style", 2.0)
        add(f"{plain}{ending}, {style}", 1.5)
        add(f"{style} style {plain}{ending}", 1.5)
    if tags:
        # The hash spreads the pairs over the tags without favouring the first letters of the alphabet.
        first = zlib.crc32(text.encode()) % len(tags)
        add(f"{plain} {tags[first]}{ending}", 1.0)
        if len(tags) > 1:
            add(f"{tags[first]} {tags[(first + 1) % len(tags)]}{ending}", 1.0)
    add(f"emoji of {article}{ending}", 0.5)
    total = sum(weights.values())
    return tuple(Caption(wording, weight / total) for wording, weight in list(weights.items())[:MAX_VARIANTS])


def caption_variants(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The wordings of one row without their weights; the first is its text."""
    return tuple(caption.text for caption in weighted_captions(row))


def split_tone(text: str) -> tuple[str, str]:
    """Subject and skin-tone phrase of a text; the phrase is empty where the text has none."""
    subject, comma, tone = text.rpartition(", ")
    return (subject, tone) if comma and tone.endswith("skin tone") else (text, "")


def with_article(subject: str, subcategory: str = "") -> str:
    """`subject` with "a", "an" or "the", or bare where English would have none."""
    if subject.startswith("flag of "):
        return f"the {subject}"
    head = _BREAK.split(f"{subject} ", maxsplit=1)[0].strip().split(",")[0].split(" ")
    first, last = head[0], head[-1]
    if first not in _PEOPLE:
        plural = {first, last} & _PLURAL or (last.endswith("s") and not last.endswith(_SINGULAR_S))
        gerund = len(head) == 1 and last.endswith("ing") and last not in _NOUNS_ING
        bare = subcategory in _BARE_GROUPS or last in _MASS or _DETERMINED.match(f"{subject} ")
        if plural or gerund or bare or not first[:1].isalnum():
            return subject
    return f"{_indefinite(first)} {subject}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionTable:
    """The wordings of a whole set: every distinct text once, to be encoded once."""

    texts: tuple[str, ...]
    """Distinct wordings."""
    choices: Int64[Tensor, "n k"]
    """Indices into `texts`; rows with fewer than k wordings repeat their first, with no weight."""
    cumulative: Float64[Tensor, "n k"]
    """Running sums of the weights along each row, up to 1."""

    def at(self, pictures: Int64[Tensor, " b"], start: int, *, seed: int) -> Int64[Tensor, " b"]:
        """Which text goes with each picture of the samples start … start + b − 1 of a stream.

        A function of seed and position alone, so that a resumed run draws the same.
        """
        positions = torch.arange(start, start + len(pictures), dtype=torch.int64)
        place = uniform_at(positions, seed=seed, stream="caption")
        column = torch.searchsorted(self.cumulative[pictures], place[:, None], right=True)
        return self.choices[pictures].gather(1, column.clamp(max=self.choices.shape[1] - 1))[:, 0]


def caption_table(rows: Sequence[Mapping[str, Any]]) -> CaptionTable:
    """All wordings of all rows."""
    captions = [weighted_captions(row) for row in rows]
    place: dict[str, int] = {}
    for one in captions:
        for caption in one:
            place.setdefault(caption.text, len(place))
    width = max((len(one) for one in captions), default=1)
    choices = torch.zeros(len(rows), width, dtype=torch.int64)
    weights = torch.zeros(len(rows), width, dtype=torch.float64)
    for index, one in enumerate(captions):
        choices[index] = place[one[0].text]
        choices[index, : len(one)] = torch.tensor([place[caption.text] for caption in one])
        weights[index, : len(one)] = torch.tensor([caption.weight for caption in one], dtype=torch.float64)
    cumulative = weights.cumsum(1)
    # Rounding may leave the last sum just under 1; a draw above it must not fall off the row.
    cumulative[cumulative > 1 - 1e-9] = 1.0
    return CaptionTable(texts=tuple(place), choices=choices, cumulative=cumulative)


def _fresh_tags(tags: Sequence[str], text: str) -> list[str]:
    said = set(re.split(r"[^\w’]+", text.lower()))
    return [tag.lower() for tag in tags if len(tag) > 1 and tag.lower() not in said]


def _unpunctuated(subject: str) -> str:
    """The colon forms of Unicode names as people would say them."""
    left, colon, right = subject.partition(": ")
    if not colon:
        return subject
    if left == "flag":
        return f"flag of {right}"
    if right.startswith("facing"):
        return f"{left} {right}"
    if right.endswith(("hair", "beard")) or right == "bald":
        return f"{left} with {right}" if right != "bald" else f"bald {left}"
    return f"{left} {right}" if left == "keycap" else f"{left}, {right}"


def _indefinite(word: str) -> str:
    word = word.lower()
    if len(word.split("-")[0]) == 1 and word[0].isalpha():  # spelled out: an x-ray, a t-rex
        return "an" if word[0] in "aefhilmnorsx" else "a"
    if word[0].isdigit():
        return "an" if word[0] == "8" or word[:2] in ("11", "18") else "a"
    if word.startswith(("hour", "honest", "sos")):
        return "an"
    if word.startswith(("uni", "eu", "one", "use", "ufo", "uk")):
        return "a"
    return "an" if word[0] in "aeiou" else "a"
