"""The hints of a drawing run: their control branches found, their files read, and what is odd about them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from melies.checkpoint import Loaded, origin
from melies.data.pixels import decode
from melies.diffusion.control import EVERYWHERE
from melies.errors import UserError
from melies.images.conditions import CONDITIONS
from melies.images.control import PictureControl, Steering, read_branch, weights_of
from melies.images.settings import DrawSettings, hint_name
from melies.models import list_models

COLOURFUL = 32
"""Difference between the channels of a pixel from which it is coloured."""
MANY = 0.02
"""Share of a hint's pixels that are not noise."""
PLAIN = 8
"""Difference of levels below which a hint shows nothing."""


class ReadHint(NamedTuple):
    """A hint as a branch reads it."""

    pixels: UInt8[Tensor, "c h w"]
    notes: tuple[str, ...]
    """What the user should know of it."""


def open_branches(settings: DrawSettings, base: Loaded) -> tuple[Loaded, ...]:
    """The control branch of each hint, each loaded once.

    Raises:
        UserError: If one is not found, is made for another base, or does not know the kind of its hint.
    """
    names = [hint.model or branch_for(base) for hint in settings.hints]
    loaded = {name: read_branch(name, base) for name in dict.fromkeys(names)}
    for name, hint in zip(names, settings.hints, strict=True):
        loaded[name].model.number_of(hint.kind)
    return tuple(loaded[name] for name in names)


def branch_for(base: Loaded) -> str:
    """The path of the control branch among the models that can be named that is made for these weights.

    Raises:
        UserError: If there is none.
    """
    wanted = weights_of(base)
    for entry in list_models():
        if entry.kind == PictureControl.kind and entry.provenance.get("base_sha256") == wanted:
            return str(entry.folder)
    raise UserError(
        f"no control branch is here that is made for {origin(base.folder)}",
        remedy="give one with --control-model PATH, or train one: melies train control-emoji --base MODEL",
    )


def read_hint(data: bytes, kind: str, size: int, *, where: str) -> ReadHint:
    """A hint from an encoded picture: its middle square, resized; what is transparent is black.

    Args:
        data: The encoded picture.
        kind: What it is to be.
        size: Side at which the branch reads it.
        where: Its name, for notes and errors.

    Raises:
        UserError: If it is no picture.
    """
    entry = CONDITIONS[kind]
    found = decode(data, size=size, channels=3, background=(0, 0, 0), where=where)
    colour, (width, height) = found.square.astype(np.int16), found.stored
    notes = []
    if width != height:
        notes.append(f"{where} is {width}×{height}: its middle square is the hint")
    if int(np.ptp(colour)) < PLAIN:
        notes.append(f"{where} is empty: a hint of one colour says nothing")
    if entry.channels == 1 and float((np.ptp(colour, axis=0) > COLOURFUL).mean()) > MANY:
        notes.append(f"{where} has colours, and {kind} is {entry.what}: it is read in grey")
    elif entry.lines and float((colour.mean(0) > 127).mean()) > 0.5:
        notes.append(f"{where} is mostly white, and {kind} is {entry.what}: perhaps its levels are inverted")
    square = decode(data, size=size, channels=1, background=(0, 0, 0), where=where).square
    return ReadHint(torch.from_numpy((square if entry.channels == 1 else found.square).copy()), tuple(notes))


def hint_sizes(branches: Sequence[Loaded]) -> tuple[int, ...]:
    """Side at which each branch reads its hint, in pixels."""
    return tuple(loaded.config.branch.hint_size for loaded in branches)


def read_hints(
    settings: DrawSettings, sizes: Sequence[int], inputs: Mapping[str, bytes]
) -> tuple[ReadHint, ...]:
    """The hints of a run, each at its size.

    Raises:
        UserError: As `read_hint`.
    """
    return tuple(
        read_hint(inputs[hint_name(number)], hint.kind, size, where=Path(hint.picture).name)
        for number, (hint, size) in enumerate(zip(settings.hints, sizes, strict=True))
    )


def steering_of(
    settings: DrawSettings, branches: Sequence[Loaded], hints: Sequence[ReadHint], b: int
) -> list[Steering]:
    """What steers a batch of b pictures, each by the same hints."""
    return [
        Steering(
            branch=loaded.model,
            kind=hint.kind,
            hints=read.pixels.expand(b, -1, -1, -1),
            scale=hint.scale,
            window=settings.control_window,
            interval=settings.control_interval or EVERYWHERE,
        )
        for hint, loaded, read in zip(settings.hints, branches, hints, strict=True)
    ]
