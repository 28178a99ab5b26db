"""Paths longer than a model knows, drawn window by window over frames that are drawn already."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from melies.camera.constraint import Constraint, Key, at_speed, put_right
from melies.camera.generate import Drawn, draw_shots
from melies.camera.model import CameraDiffusion
from melies.config import check_range

OVERLAP = 60
"""Frames of a window that are drawn already: more than the tagger's window, so that a motion goes on."""
NEXT_SEED = 1_000_003
"""Between the seeds of one window and the next."""


class Window(NamedTuple):
    """Frames drawn at once."""

    start: int
    end: int
    """The frame after the last."""


def windows(frames: int, longest: int, overlap: int) -> list[Window]:
    """As few windows of at most `longest` frames as can be, all as long, that share `overlap` frames or more.

    Raises:
        UserError: If the overlap leaves nothing new in a window.
    """
    check_range("overlap", overlap, low=1, high=longest - 1)
    count = max(1, -(-(frames - overlap) // (longest - overlap)))
    length = -(-(frames + (count - 1) * overlap) // count)
    starts = [min(index * (length - overlap), frames - length) for index in range(count)]
    return [Window(start, start + length) for start in starts]


def draw_long_shots(
    model: CameraDiffusion,
    prompts: Sequence[str],
    characters: Sequence[Float64[ndarray, "_ 3"]],
    *,
    overlap: int = OVERLAP,
    seeds: Sequence[int] | None = None,
    constraints: Sequence[Constraint] | None = None,
    **options: Any,
) -> list[Drawn]:
    """Draw one path beside each character, of any length; each window is drawn from the whole prompt.

    Args:
        model: A trained model.
        prompts: What each camera does, in words.
        characters: Where each character's hips are, metres.
        overlap: Frames that a window shares with the one before, whose poses are kept.
        seeds: One per path; 0, 1, 2 … when not given.
        constraints: What each path is held to, by the frames of the whole path.
        options: The others of `draw_shots`, which says what is returned and what is wrong.
    """
    seeds = list(range(len(prompts))) if seeds is None else list(seeds)
    held = [Constraint()] * len(prompts) if constraints is None else list(constraints)
    longest = model.config.network.frames
    if all(len(track) <= longest for track in characters):
        return draw_shots(model, prompts, characters, seeds=seeds, constraints=held, **options)
    plans = [windows(len(track), longest, min(overlap, longest // 2)) for track in characters]
    paths = [np.empty((0, 4, 4)) for _ in prompts]
    lenses = [np.empty(0) for _ in prompts]
    for number in range(max(len(plan) for plan in plans)):
        rows = [row for row, plan in enumerate(plans) if number < len(plan)]
        drawn = draw_shots(
            model,
            [prompts[row] for row in rows],
            [characters[row][slice(*plans[row][number])] for row in rows],
            seeds=[seeds[row] + NEXT_SEED * number for row in rows],
            constraints=[
                _within(held[row], plans[row][number], len(characters[row]), paths[row]) for row in rows
            ],
            **options,
        )
        for row, shot in zip(rows, drawn, strict=True):
            known = len(paths[row]) - plans[row][number].start
            paths[row] = np.concatenate([paths[row], shot.world_from_camera[known:]])
            if shot.focal is not None:  # the zoom goes on from where it was
                goes_on = lenses[row][-1] / shot.focal[known - 1] if known else 1.0
                lenses[row] = np.concatenate([lenses[row], goes_on * shot.focal[known:]])
    return [
        Drawn(
            put_right(at_speed(path, one.speed), track, one, axes=model.config.axes),
            lens if len(lens) else None,
        )
        for path, lens, track, one in zip(paths, lenses, characters, held, strict=True)
    ]


def _within(constraint: Constraint, window: Window, frames: int, drawn: ndarray) -> Constraint:
    """What a window is held to: the same, and the poses that are drawn already."""
    keys = {}
    for frame, key in constraint.keys.items():
        at = frame + frames if frame < 0 else frame
        if window.start <= at < window.end:
            keys[at - window.start] = key
    for frame in range(window.start, len(drawn)):
        keys[frame - window.start] = Key(drawn[frame, :3, 3], drawn[frame, :3, :3])
    size = constraint.size if window.start == 0 else None
    return replace(constraint, keys=keys, size=size, speed=1.0)
