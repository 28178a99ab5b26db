"""Videos that are written here, whose every picture says its number by its colour."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from melies.errors import UserError
from melies.video.decode import describe_video, frames, frames_at, frames_every

av = pytest.importorskip("av")


def write_video(
    path: Path, ticks: list[int], *, size: tuple[int, int] = (48, 32), codec: str = "mpeg4"
) -> Path:
    """Picture i is shown from ticks[i] / 100 s on: grey of level 10 + 8 i, its top left corner white."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=100)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate = 4_000_000
        stream.codec_context.time_base = Fraction(1, 100)
        for i, tick in enumerate(ticks):
            pixels = np.full((size[1], size[0], 3), 10 + 8 * (i % 30), np.uint8)
            pixels[: size[1] // 2, : size[0] // 2] = 255
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def number_of(pixels: np.ndarray) -> int:
    return round((float(pixels[-8:, -8:].mean()) - 10) / 8)


TICKS = [0, 4, 8, 50, 51, 90, 200]
"""Pictures at a rate that varies."""


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "v.mp4", TICKS)


def test_every_picture_comes_once_with_its_own_time(video):
    found = list(frames(video))
    assert [number_of(f.pixels) for f in found] == list(range(7))
    np.testing.assert_allclose([f.time_s for f in found], np.array(TICKS) / 100, atol=1e-4)
    assert found[0].pixels.shape == (32, 48, 3)
    assert found[0].pixels[:8, :8].mean() > 240
    told = describe_video(video)
    assert (told.width, told.height) == (48, 32)
    assert 2.0 <= told.duration_s < 2.2


def test_the_picture_at_a_time_is_the_last_that_has_begun(video, monkeypatch):
    times = [0.0, 0.03, 0.04, 0.3, 0.505, 1.5, 2.0, 9.0]
    expected = [0, 0, 1, 2, 3, 5, 6, 6]
    assert [number_of(f.pixels) for f in frames_at(video, times)] == expected
    monkeypatch.setattr("melies.video.decode.SEEK_S", 0.05)  # now every one is sought
    assert [number_of(f.pixels) for f in frames_at(video, times)] == expected
    assert list(frames_at(video, [])) == []
    for wrong in ([1.0, 0.5], [float("nan")], [-1.0]):
        with pytest.raises(UserError, match="not finite, rising"):
            list(frames_at(video, wrong))


def test_pictures_at_even_times_repeat_what_is_shown_for_longer(video):
    found = list(frames_every(video, 0.25))
    assert [number_of(f.pixels) for f in found] == [0, 2, 3, 4, 5, 5, 5, 5, 6]
    np.testing.assert_allclose([f.time_s for f in found], np.arange(9) * 0.25, atol=1e-4)
    with pytest.raises(UserError, match="seconds"):
        list(frames_every(video, 0.0))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_pictures_are_turned_upright(video, degrees):
    data = bytearray(video.read_bytes())
    # the matrix of the track header, whose unit is 16.16 (2.30 in the last column)
    at = data.index(b"tkhd") + 4 + 4 + 4 * 5 + 8 + 8
    one, turn = 1 << 16, round(degrees / 90) % 4
    a, b = [(one, 0), (0, one), (-one, 0), (0, -one)][turn]
    matrix = [a, b, 0, -b, a, 0, 0, 0, 1 << 30]
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    video.write_bytes(bytes(data))
    first = next(frames(video)).pixels
    plain = np.full((32, 48), 10)
    plain[:16, :24] = 255
    expected = np.rot90(plain, -turn)  # the matrix turns clockwise
    assert first.shape[:2] == expected.shape
    assert np.abs(first.mean(2) - expected).mean() < 12
    assert (describe_video(video).width, describe_video(video).height) == expected.shape[::-1]


def test_files_without_pictures_are_refused(tmp_path):
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        samples.sample_rate = 8000
        container.mux(stream.encode(samples))
    for read in (describe_video, lambda p: list(frames(p)), lambda p: list(frames_at(p, [0.0]))):
        with pytest.raises(UserError, match=r"sound\.wav: has no pictures"):
            read(sound)
    text = tmp_path / "text.mp4"
    text.write_text("this is no video" * 100)
    with pytest.raises(UserError, match="cannot be read as a video"):
        list(frames(text))
    with pytest.raises(UserError, match="cannot be read as a video"):
        list(frames(tmp_path / "nowhere.mp4"))


def test_a_damaged_file_is_named_with_where_it_is_damaged(tmp_path):
    path = write_video(tmp_path / "long.avi", list(range(0, 400, 4)), codec="mjpeg")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 4] = bytes(len(data) // 4)
    path.write_bytes(bytes(data))
    seen = []

    def read():
        for frame in frames(path):
            seen.append(frame.time_s)

    with pytest.raises(UserError, match=r"long\.avi: damaged after \d+\.\d+ s") as caught:
        read()
    assert len(seen) > 10  # what came before it was given
    assert f"{seen[-1]:.3f} s" in str(caught.value)
