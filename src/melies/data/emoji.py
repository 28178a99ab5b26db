"""The emoji set: pictures with their texts, and the compositions held out of training."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Bool
from torch import Tensor

from melies.data.images import ImageSet, read_images, said_sizes
from melies.data.shards import shard_paths
from melies.data.splits import held_out
from melies.data.stream import Pictures, stream_images
from melies.errors import UserError
from melies.progress import Progress, silent

TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
"""Skin tones by the words of the texts, lightest first."""


Set = TypeVar("Set", bound=Pictures)
_TONE = re.compile(r"\b((?:medium-)?(?:light|dark)|medium) skin tone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Emoji(Generic[Set]):
    """All pictures, with the mask of those that no training may see."""

    pictures: Set
    held_out: Bool[Tensor, " n"]

    def training(self) -> Set:
        """The pictures that may be trained on.

        Raises:
            UserError: If there is none.
        """
        if bool(self.held_out.all()):
            raise UserError("every picture is held out of training", remedy="add rows with other texts")
        return self.pictures.subset(~self.held_out)

    def unseen(self) -> Set:
        """The held-out compositions."""
        return self.pictures.subset(self.held_out)


def read_emoji(
    data: Path | None,
    *,
    size: int,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda line: None,
) -> Emoji[ImageSet]:
    """Read the set from `data`, or from where `melies data prepare emoji` puts it.

    Only rows of that set, which have a column `unified`, are held out: a user's own are all trained on.

    Args:
        data: Folder or zip with `metadata.jsonl`; None for the usual places.
        size: Side of the pictures, in pixels.
        progress: Shows the reading.
        say: Told how many pictures are held out or were of another size, if any.

    Raises:
        UserError: If the set is not found or damaged.
    """
    if data is None:
        from melies.data.places import find_data

        data = find_data("emoji")
    pictures = read_images(data, size=size, progress=progress)
    if sentence := said_sizes(pictures):
        say(sentence)
    return _divided(pictures, say)


def open_emoji(
    data: Path | None,
    *,
    size: int,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda line: None,
) -> Emoji[Any]:
    """The same where pictures are looked at a batch at a time: those of shards stay on the disk.

    Raises:
        UserError: If the set is not found or damaged.
    """
    if data is None or not shard_paths(data):
        return read_emoji(data, size=size, progress=progress, say=say)
    pictures = stream_images(data, size=size)
    say(f"{len(pictures)} pictures are read from the shards while training")
    return _divided(pictures, say)


def _divided(pictures: Set, say: Callable[[str], None]) -> Emoji[Set]:
    own = torch.tensor(["unified" in row for row in pictures.rows], dtype=torch.bool)
    found = Emoji(pictures=pictures, held_out=held_out(pictures.rows) & own)
    if (count := int(found.held_out.sum())) > 0:
        say(f"{count} pictures of held-out compositions are not trained on")
    return found


def skin_tone(text: str) -> int | None:
    """Index into `TONES` of the one tone a text names; None for no tone or for several."""
    named = _TONE.findall(text)
    return TONES.index(named[0]) if len(named) == 1 else None
