"""Pictures of a video by time stamp, one at a time, through PyAV."""

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from melies.config import check_positive
from melies.errors import UserError
from melies.video.container import damaged, opened, reason, start_s

MAX_PIXELS = 64_000_000
"""Of one picture: a larger one is refused before it is decoded."""
SEEK_S = 10.0
"""A wanted picture this far ahead is sought; up to there the ones between are decoded, which is quicker."""


class Frame(NamedTuple):
    """One picture of a video."""

    pixels: UInt8[np.ndarray, "h w 3"]
    """RGB, upright: the rotation that the file asks for is done."""
    time_s: float
    """When it is first shown, in seconds from the start of the file."""


class Video(NamedTuple):
    """What a file says of its pictures, without decoding them."""

    width: int
    """Of the upright pictures, in pixels; so is the height."""
    height: int
    duration_s: float | None
    """None where the file does not say."""
    fps: float | None
    """Mean number of pictures per second; None where the file does not say."""


def describe_video(path: Path) -> Video:
    """Size, length and rate of a video's pictures.

    Raises:
        UserError: If the file cannot be read, or has no pictures.
    """
    with _opened(path) as (av, container, stream):
        duration = container.duration / av.time_base if container.duration else None
        first = next(_decoded(av, container, stream, path), None)
        if first is None:
            raise _empty(path)
        height, width = first.pixels.shape[:2]
        rate = float(stream.average_rate) if stream.average_rate else None
        return Video(width, height, duration, rate)


def frames(path: Path) -> Iterator[Frame]:
    """All pictures, in the order in which they are shown; one is in memory at a time.

    Raises:
        UserError: If the file cannot be read, has no pictures, or is damaged: with the time of the damage.
    """
    count = 0
    with _opened(path) as (av, container, stream):
        for frame in _decoded(av, container, stream, path):
            count += 1
            yield frame
    if not count:
        raise _empty(path)


def frames_every(path: Path, seconds: float) -> Iterator[Frame]:
    """The picture that is shown at 0, `seconds`, 2 `seconds` … up to when the last one begins.

    A picture that is shown for longer comes again, with the `time_s` at which it is looked at: the times of
    what is given are evenly spaced, whatever the file's own rate.

    Raises:
        UserError: As `frames`, or if `seconds` is not positive.
    """
    check_positive("seconds", seconds)
    number, shown = 0, None
    for frame in frames(path):
        while shown is not None and number * seconds < frame.time_s - _NEAR_S:
            yield Frame(shown.pixels, number * seconds)
            number += 1
        shown = frame
    assert shown is not None  # frames() has refused a video without pictures
    while number * seconds <= shown.time_s + _NEAR_S:
        yield Frame(shown.pixels, number * seconds)
        number += 1


def frames_at(path: Path, times_s: Sequence[float]) -> Iterator[Frame]:
    """The picture that is shown at each of the times, which rise; far ones are sought.

    It is the last that begins at or before the time; before the first picture it is the first. After the end
    of the video it is the last.

    Raises:
        UserError: As `frames`, or if the times do not rise or are not finite.
    """
    if any(not math.isfinite(t) or t < 0 for t in times_s) or any(
        b < a for a, b in itertools.pairwise(times_s)
    ):
        raise UserError("the times of a video's pictures are not finite, rising and from 0 on")
    with _opened(path) as (av, container, stream):
        coming = _decoded(av, container, stream, path)
        shown, ahead = next(coming, None), None
        if shown is None:
            raise _empty(path)
        for time_s in times_s:
            if time_s - (ahead or shown).time_s > SEEK_S:
                start = start_s(av, container)
                container.seek(int((time_s + start) * av.time_base), backward=True)
                coming = _decoded(av, container, stream, path)
                shown, ahead = next(coming, shown), None
            while True:
                ahead = ahead or next(coming, None)
                if ahead is None or ahead.time_s > time_s + _NEAR_S:
                    break
                shown, ahead = ahead, None
            yield Frame(shown.pixels, shown.time_s)


_NEAR_S = 1e-6
"""Time stamps are multiples of a fraction that seconds do not hit exactly."""


@contextmanager
def _opened(path: Path) -> Iterator[tuple[ModuleType, Any, Any]]:
    with opened(path, "a video") as (av, container):
        stream = next((s for s in container.streams.video if not _is_cover(s)), None)
        if stream is None:
            raise _empty(path)
        if stream.width * stream.height > MAX_PIXELS:
            raise UserError(
                f"pictures of {stream.width}×{stream.height} are more than {MAX_PIXELS:,} pixels",
                where=str(path),
            )
        stream.thread_type = "AUTO"
        yield av, container, stream


def _decoded(av: ModuleType, container: Any, stream: Any, path: Path) -> Iterator[Frame]:
    start, last = start_s(av, container), 0.0
    try:
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise damaged(path, last, "a picture is damaged")
            # a stream without time stamps goes on at its own rate
            step = 1 / float(stream.average_rate or 25)
            last = frame.time - start if frame.time is not None else last + step
            turned = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
            yield Frame(np.ascontiguousarray(turned), max(0.0, last))
    except (av.error.FFmpegError, OSError) as error:
        raise damaged(path, last, reason(error)) from None


def _is_cover(stream: Any) -> bool:
    """The picture on the sleeve of a piece of music is not a video."""
    return "attached_pic" in str(stream.disposition).lower()


def _empty(path: Path) -> UserError:
    return UserError("has no pictures", where=str(path), remedy="give a video, not sound alone")
