"""Cached states equal the encoder's own, each different text is encoded once, files are whole or absent."""

from contextlib import contextmanager

import pytest
import torch
from torch.testing import assert_close

from melies.errors import UserError
from melies.interfaces import TextStates
from melies.text.cache import encode_all
from melies.text.config import TextConfig
from melies.text.encode import build_encoder

TEXTS = ["a polar bear", "dog", "a polar bear", "a very big red house on the hill", "dog", "cat"]


class Counting:
    """States made of the text's length: enough to know which text is where."""

    dim, max_tokens = 3, 4

    def __init__(self, identity="counting/1", gain=1.0):
        self.identity, self.gain, self.seen = identity, gain, []

    def __call__(self, texts):
        self.seen += texts
        length = torch.tensor([float(len(text)) for text in texts]) * self.gain
        valid = torch.arange(4) < length[:, None]
        return TextStates(
            length[:, None, None].expand(-1, 4, 3) * valid[..., None], valid, length[:, None].expand(-1, 3)
        )


def test_states_are_the_encoders_own_in_half_precision(folders):
    encoder = build_encoder(TextConfig(path=str(folders["minilm"]), max_tokens=12))
    states = encode_all(encoder, TEXTS, batch_size=2)
    assert len(states) == 6
    assert states.tokens.shape == (4, 12, 16)
    assert states.tokens.dtype == torch.float16
    condition = states.batch([5, 0, 3])
    direct = encoder([TEXTS[5], TEXTS[0], TEXTS[3]])
    assert set(condition) == {"text", "text_valid"}
    assert condition["text"].dtype == torch.float32
    assert_close(condition["text"], direct.tokens, atol=2e-3, rtol=2e-3)
    assert torch.equal(condition["text_valid"], direct.valid)
    assert_close(states.pooled[states.index].float(), encoder(TEXTS).pooled, atol=2e-3, rtol=2e-3)


def test_each_text_has_its_own_states_and_is_encoded_once():
    encoder = Counting()
    states = encode_all(encoder, TEXTS, batch_size=2)
    assert sorted(encoder.seen) == sorted(set(TEXTS))
    found = states.batch(torch.arange(6))["text"][:, 0, 0]
    assert found.tolist() == [len(text) for text in TEXTS]


def test_progress_counts_the_different_captions():
    steps = []

    @contextmanager
    def progress(title, *, total, unit="step", done=0.0):
        class Track:
            def advance(self, amount=1.0, **fields):
                steps.append(amount)

        assert total == 4
        yield Track()

    encode_all(Counting(), TEXTS, batch_size=3, progress=progress)
    assert steps == [3, 1]


def test_a_second_run_reads_the_file(tmp_path):
    first = encode_all(Counting(), TEXTS, cache=tmp_path / "states")
    encoder = Counting()
    second = encode_all(encoder, TEXTS[::-1][::-1], cache=tmp_path / "states")
    assert encoder.seen == []
    for name in ("tokens", "valid", "pooled", "index"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    assert len(list((tmp_path / "states").iterdir())) == 1


@pytest.mark.parametrize(
    ("encoder", "texts", "dtype"),
    [
        (Counting("counting/2"), TEXTS, torch.float16),
        (Counting(), [*TEXTS, "bus"], torch.float16),
        (Counting(), TEXTS[::-1], torch.float16),
        (Counting(), TEXTS, torch.float32),
    ],
)
def test_another_encoder_text_or_precision_is_another_file(tmp_path, encoder, texts, dtype):
    encode_all(Counting(), TEXTS, cache=tmp_path)
    states = encode_all(encoder, texts, cache=tmp_path, dtype=dtype)
    assert len(encoder.seen) == len(set(texts))
    assert states.batch(range(len(texts)))["text"][:, 0, 0].tolist() == [len(text) for text in texts]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda data: data[:-7], lambda data: b"", lambda data: b"\xff" * 40])
def test_a_damaged_file_is_made_again(tmp_path, damage):
    truth = encode_all(Counting(), TEXTS, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    encoder = Counting()
    assert torch.equal(encode_all(encoder, TEXTS, cache=tmp_path).tokens, truth.tokens)
    assert encoder.seen
    assert file.read_bytes() == whole


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("melies.files.os.fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        encode_all(Counting(), TEXTS, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "states").write_text("taken")
    with pytest.raises(UserError, match="is a file, and a folder is needed"):
        encode_all(Counting(), TEXTS, cache=tmp_path / "states")


def test_a_state_that_overflows_is_not_kept():
    with pytest.raises(ValueError, match=r"does not fit in torch\.float16"):
        encode_all(Counting(gain=1e5), TEXTS)
    assert torch.isfinite(encode_all(Counting(gain=1e5), TEXTS, dtype=torch.bfloat16).tokens).all()


def test_bad_captions_are_named_before_anything_is_encoded(tmp_path):
    encoder = Counting()
    with pytest.raises(UserError, match="text 7 of 7"):
        encode_all(encoder, [*TEXTS, " "], cache=tmp_path)
    with pytest.raises(UserError, match="no captions"):
        encode_all(encoder, [])
    assert encoder.seen == []


def test_states_that_would_not_fit_in_memory_are_refused(monkeypatch):
    monkeypatch.setattr("melies.text.cache.MAX_BYTES", 4 * 4 * 3 * 2 - 1)
    with pytest.raises(UserError, match="max_tokens, now 4"):
        encode_all(Counting(), TEXTS)
    monkeypatch.setattr("melies.text.cache.MAX_BYTES", 4 * 4 * 3 * 2)
    assert len(encode_all(Counting(), TEXTS)) == 6
