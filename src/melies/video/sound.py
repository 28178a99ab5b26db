"""Sound of a file by time stamp, block by block, through PyAV; and writing it.

Sample `i` of what is read belongs to the time `i / rate` of the file, whatever its packets say: gaps are
filled with silence, and what comes twice is left out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from melies.config import check_positive, check_range
from melies.errors import UserError, choose
from melies.files import replacing
from melies.optional import require
from melies.video.container import damaged, opened, reason, start_s

RATE = 16_000
"""Samples a second of what is read, where not told otherwise."""
GAP_S = 0.05
"""Time stamps that are off by less are taken for rounding."""
MAX_GAP_S = 6 * 3600.0
"""A longer silence within a file is taken for damage."""
MAX_CHANNELS = 64
CODECS = {".wav": "pcm_s16le", ".flac": "flac", ".opus": "libopus", ".mp3": "libmp3lame", ".m4a": "aac"}
"""Suffix → how it is written; what is not lossless, with `BIT_RATE` for each channel."""
BIT_RATE = 128_000


class Sound(NamedTuple):
    """What a file says of its sound, without decoding all of it."""

    rate: int
    """Samples a second."""
    channels: tuple[str, ...]
    """Their names in their order: FL, FR, FC, LFE, SL, SR …"""
    layout: str
    """As FFmpeg calls it: mono, stereo, 5.1(side) …"""
    duration_s: float | None
    """None where the file does not say."""
    codec: str


class Block(NamedTuple):
    """A piece of the sound."""

    samples: Float32[np.ndarray, "channels n"]
    """Between −1 and 1 where nothing is clipped; channels in the order of the file."""
    time_s: float
    """Of its first sample."""


def describe_sound(path: Path) -> Sound:
    """Rate, channels and length of a file's sound.

    Raises:
        UserError: If the file cannot be read, or has no sound.
    """
    with _opened(path) as (av, container, stream):
        duration = container.duration / av.time_base if container.duration else None
        layout = stream.layout
        return Sound(
            stream.rate,
            tuple(channel.name for channel in layout.channels),
            layout.name,
            duration,
            stream.codec_context.name,
        )


def sound_blocks(
    path: Path,
    *,
    rate: int = RATE,
    block_s: float = 30.0,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> Iterator[Block]:
    """The sound from `start_s` to `end_s`, in blocks of `block_s` seconds, the last of which may be shorter.

    Of a file that is damaged everything before the damage comes first.

    Raises:
        UserError: If the file cannot be read, has no sound, or is damaged: with the time of the damage.
    """
    check_positive("rate", rate)
    check_positive("block_s", block_s)
    check_range("start_s", start_s, low=0)
    if end_s is not None:
        check_range("end_s", end_s, low=start_s)
    first = round(start_s * rate)
    last = None if end_s is None else round(end_s * rate)
    size, at = max(1, round(block_s * rate)), 0
    kept: list[np.ndarray] = []
    given = first  # samples before this one are out of the door

    def ready(all_of_it: bool) -> Iterator[Block]:
        nonlocal kept, given
        held = sum(piece.shape[1] for piece in kept)
        if not held or (held < size and not all_of_it):
            return
        joined = np.concatenate(kept, axis=1)
        cut = joined.shape[1] if all_of_it else joined.shape[1] // size * size
        for begin in range(0, cut, size):
            piece = np.ascontiguousarray(joined[:, begin : min(begin + size, cut)])
            yield Block(piece, given / rate)
            given += piece.shape[1]
        kept = [joined[:, cut:]]

    try:
        for piece in _at_rate(path, rate):
            begin, at = at, at + piece.shape[1]
            if at <= first:
                continue
            wanted = piece[:, max(0, first - begin) : None if last is None else max(0, last - begin)]
            kept.append(wanted)
            yield from ready(False)
            if last is not None and at >= last:
                break
    except UserError:
        yield from ready(True)
        raise
    yield from ready(True)


def read_sound(
    path: Path, *, rate: int = RATE, start_s: float = 0.0, end_s: float | None = None, limit_s: float = 3600.0
) -> Float32[np.ndarray, "channels n"]:
    """All of a sound at once, or a part of it.

    Raises:
        UserError: As `sound_blocks`, or if it is longer than `limit_s`.
    """
    blocks = []
    for block in sound_blocks(path, rate=rate, start_s=start_s, end_s=end_s):
        if block.time_s - start_s + block.samples.shape[1] / rate > limit_s:
            raise UserError(f"longer than {limit_s:g} s", where=str(path), remedy="read it block by block")
        blocks.append(block.samples)
    if not blocks:
        raise UserError(f"has no sound from {start_s:g} s on", where=str(path))
    return np.concatenate(blocks, axis=1)


def write_sound(path: Path, samples: Float32[np.ndarray, "channels n"], rate: int) -> Path:
    """Write a sound in the format that the suffix names; what is beyond −1 … 1 is clipped.

    Raises:
        UserError: If the format is unknown, or the file cannot be written.
    """
    codec = choose(path.suffix.lower(), CODECS, "format of sound")
    av = require("av", extra="video", why="writing sound")
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}.get(len(samples), f"{len(samples)}c")
    with (
        replacing(path) as file,
        av.open(file, "w", format=_muxer(path.suffix.lower())) as container,
    ):
        stream = container.add_stream(codec, rate=rate, layout=layout)
        if codec in ("libopus", "libmp3lame", "aac"):
            stream.bit_rate = BIT_RATE * len(samples)
        for begin in range(0, samples.shape[1], rate):
            piece = np.clip(samples[:, begin : begin + rate], -1, 1)
            container.mux(stream.encode(_frame(av, piece, layout, rate, begin)))
        container.mux(stream.encode(None))
    return path


# Frames hold their channels one after the other in each sample: PyAV loses count of more than seven planes.


def _frame(av: ModuleType, samples: np.ndarray, layout: str, rate: int, at: int) -> Any:
    packed = np.ascontiguousarray(samples.T, np.float32).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
    frame.sample_rate, frame.pts = rate, at
    return frame


def _samples(frame: Any) -> np.ndarray:
    return np.ascontiguousarray(frame.to_ndarray().reshape(-1, len(frame.layout.channels)).T)


def _muxer(suffix: str) -> str:
    return {".m4a": "mp4", ".opus": "ogg"}.get(suffix, suffix[1:])


@contextmanager
def _opened(path: Path) -> Iterator[tuple[ModuleType, Any, Any]]:
    with opened(path, "sound") as (av, container):
        stream = next(iter(container.streams.audio), None)
        if stream is None:
            raise UserError("has no sound", where=str(path))
        if not stream.rate or not 1 <= len(stream.layout.channels) <= MAX_CHANNELS:
            raise UserError("its sound has no rate or no channels", where=str(path))
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"err_detect": "crccheck+explode"}  # rather than guessed sound
        yield av, container, stream


def _at_rate(path: Path, rate: int) -> Iterator[np.ndarray]:
    """All of the sound at one rate, in the pieces in which it comes, gaps filled."""
    with _opened(path) as (av, container, stream):
        own, layout = stream.rate, stream.layout.name
        change = av.AudioResampler(format="flt", layout=layout, rate=rate) if own != rate else None
        at = 0
        for piece in _in_time(av, container, stream, path):
            if change is None:
                yield piece
                continue
            frame = _frame(av, piece, layout, own, at)
            at += piece.shape[1]
            yield from map(_samples, change.resample(frame))
        if change is not None and at:
            yield from map(_samples, change.resample(None))


def _in_time(av: ModuleType, container: Any, stream: Any, path: Path) -> Iterator[np.ndarray]:
    """Pieces at the sound's own rate, so that each sample is where its time stamp says."""
    own, layout = stream.rate, stream.layout.name
    begin, at, convert = start_s(av, container), 0, None
    try:
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise damaged(path, at / own, "a piece of sound is damaged")
            heard = (frame.format.name, frame.layout.name, frame.sample_rate)
            if convert is None or convert[0] != heard:  # some films change their layout halfway
                convert = heard, av.AudioResampler(format="flt", layout=layout, rate=own)
            wanted = at if frame.time is None else round((frame.time - begin) * own)
            pieces = [_samples(one) for one in convert[1].resample(frame)]
            if wanted - at > MAX_GAP_S * own:
                raise damaged(path, at / own, f"it goes on at {wanted / own:.0f} s")
            while wanted - at > GAP_S * own:
                silence = np.zeros((len(stream.layout.channels), min(wanted - at, own)), np.float32)
                yield silence
                at += silence.shape[1]
            for piece in pieces:
                late = max(0, at - wanted) if at - wanted > GAP_S * own else 0
                wanted += piece.shape[1]
                if late < piece.shape[1]:
                    yield piece[:, late:]
                    at += piece.shape[1] - late
    except (av.error.FFmpegError, OSError) as error:
        raise damaged(path, at / own, reason(error)) from None
