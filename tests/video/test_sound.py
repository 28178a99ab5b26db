"""Sounds that are written here: sines of known pitch and loudness, each channel with its own."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from melies.errors import UserError
from melies.video.sound import CODECS, describe_sound, read_sound, sound_blocks, write_sound

av = pytest.importorskip("av")


def tones(channels: int, seconds: float, rate: int) -> np.ndarray:
    """Channel k sounds at 200·(k + 1) Hz, with an amplitude of 0.5 / (k + 1)."""
    t = np.arange(round(seconds * rate)) / rate
    return np.stack([np.sin(2 * np.pi * 200 * (k + 1) * t) / (2 * k + 2) for k in range(channels)]).astype(
        np.float32
    )


def pitch(samples: np.ndarray, rate: int) -> float:
    """Hz of the strongest part."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * rate / len(samples))


def amplitude(samples: np.ndarray) -> float:
    return float(np.sqrt(2 * (samples**2).mean()))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_every_channel_keeps_its_pitch_and_loudness(tmp_path, rate, channels):
    path = write_sound(tmp_path / "a.wav", tones(channels, 2.0, rate), rate)
    told = describe_sound(path)
    assert (told.rate, len(told.channels)) == (rate, channels)
    assert told.duration_s == pytest.approx(2.0, abs=0.01)
    if channels == 6:
        assert told.channels[:4] == ("FL", "FR", "FC", "LFE")
    found = read_sound(path)
    assert found.dtype == np.float32
    assert found.shape[0] == channels
    assert found.shape[1] == pytest.approx(32_000, abs=16)
    for k, one in enumerate(found):
        assert pitch(one[4000:-4000], 16_000) == pytest.approx(200 * (k + 1), abs=1.0)
        assert amplitude(one[4000:-4000]) == pytest.approx(0.5 / (k + 1), rel=0.02)


def test_resampling_does_not_move_a_sound(tmp_path):
    click = np.zeros((1, 44_100), np.float32)
    click[0, 22_050 - 22 : 22_050 + 22] = 0.9
    found = read_sound(write_sound(tmp_path / "a.wav", click, 44_100))
    centre = (np.arange(found.shape[1]) * found[0] ** 2).sum() / (found[0] ** 2).sum()
    assert centre / 16_000 == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("suffix", CODECS)
def test_every_format_is_read_back(tmp_path, suffix):
    path = write_sound(tmp_path / f"a{suffix}", tones(2, 1.5, 48_000), 48_000)
    found = read_sound(path, rate=48_000)
    assert found.shape[1] / 48_000 == pytest.approx(1.5, abs=0.06)
    for k in range(2):
        assert pitch(found[k, 9600:57_600], 48_000) == pytest.approx(200 * (k + 1), abs=2.0)
        assert amplitude(found[k, 9600:57_600]) == pytest.approx(0.5 / (k + 1), rel=0.05)


def test_blocks_are_the_sound_itself(tmp_path):
    path = write_sound(tmp_path / "a.wav", tones(2, 3.3, 44_100), 44_100)
    whole = read_sound(path)
    blocks = list(sound_blocks(path, block_s=0.7))
    assert [round(one.time_s, 4) for one in blocks] == [0.0, 0.7, 1.4, 2.1, 2.8]
    assert {one.samples.shape[1] for one in blocks[:-1]} == {11_200}
    np.testing.assert_array_equal(np.concatenate([one.samples for one in blocks], axis=1), whole)
    part = list(sound_blocks(path, block_s=0.7, start_s=1.0, end_s=2.5))
    assert [round(one.time_s, 4) for one in part] == [1.0, 1.7, 2.4]
    np.testing.assert_array_equal(
        np.concatenate([one.samples for one in part], axis=1), whole[:, 16_000:40_000]
    )


def write_at(path: Path, starts: list[float], *, rate: int = 8_000) -> Path:
    """Pieces of 0.1 s each, of the value 0.1·(k + 1), with these time stamps."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        stream.time_base = Fraction(1, rate)
        for k, start in enumerate(starts):
            piece = np.full((1, rate // 10), 0.1 * (k + 1), np.float32)
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, round(start * rate), Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_gaps_are_silent_and_what_comes_twice_is_left_out(tmp_path):
    path = write_at(tmp_path / "a.mkv", [0.0, 0.1, 0.5, 0.6, 0.62, 0.8])
    found = read_sound(path, rate=8_000)[0]
    np.testing.assert_allclose(found[:1600], np.repeat([0.1, 0.2], 800), atol=1e-3)
    np.testing.assert_array_equal(found[1600:4000], 0)
    np.testing.assert_allclose(found[4000:5600], np.repeat([0.3, 0.4], 800), atol=1e-3)
    # of the piece at 0.62 s only what is after 0.7 s is new
    np.testing.assert_allclose(found[5600:5760], 0.5, atol=1e-3)
    np.testing.assert_array_equal(found[5760:6400], 0)
    np.testing.assert_allclose(found[6400:7200], 0.6, atol=1e-3)
    assert len(found) == 7200


def test_a_time_stamp_from_another_day_is_damage(tmp_path):
    path = write_at(tmp_path / "a.mkv", [0.0, 100_000.0])
    blocks = sound_blocks(path, rate=8_000)
    assert next(blocks).samples.shape[1] == 800  # what was there is not lost
    with pytest.raises(UserError, match=r"damaged after 0\.100 s \(it goes on at 100000 s\)"):
        next(blocks)


def test_damage_is_told_after_what_was_before_it(tmp_path):
    path = write_sound(tmp_path / "a.m4a", tones(1, 4.0, 16_000), 16_000)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = b"\x55" * 200
    path.write_bytes(data)
    blocks = sound_blocks(path, block_s=0.5)
    for k in range(3):
        assert next(blocks).time_s == k * 0.5
    with pytest.raises(UserError, match=r"damaged after [12]\.\d+ s"):
        list(blocks)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".opus", ".mp3"])
def test_what_is_there_of_a_file_that_was_cut_off_is_read(tmp_path, suffix):
    path = write_sound(tmp_path / f"a{suffix}", tones(1, 4.0, 48_000), 48_000)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    length = 0
    try:
        for block in sound_blocks(path, block_s=0.5):
            length += block.samples.shape[1]
    except UserError as error:
        assert "damaged after" in str(error)  # noqa: PT017  # it may be told, or not, but never lost
    assert 1.0 < length / 16_000 < 3.0


def test_no_sound_no_file_no_format(tmp_path):
    with pytest.raises(UserError, match="cannot be read as sound"):
        read_sound(tmp_path / "none.wav")
    text = tmp_path / "a.wav"
    text.write_text("not a sound")
    with pytest.raises(UserError, match="cannot be read as sound"):
        read_sound(text)
    with pytest.raises(UserError, match=r"format of sound '\.xyz'"):
        write_sound(tmp_path / "a.xyz", tones(1, 0.1, 8_000), 8_000)
    assert list(tmp_path.iterdir()) == [text]


def test_a_picture_without_sound(tmp_path):
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        container.mux(stream.encode())
    with pytest.raises(UserError, match="has no sound"):
        describe_sound(path)


def test_a_sound_that_is_too_long_for_memory_is_refused(tmp_path):
    path = write_sound(tmp_path / "a.wav", tones(1, 3.0, 8_000), 8_000)
    with pytest.raises(UserError, match="longer than 2 s"):
        read_sound(path, limit_s=2.0)
    with pytest.raises(UserError, match="no sound from 9 s on"):
        read_sound(path, start_s=9.0)
