"""The learned encoder: nothing of a text is dropped in silence, and it learns."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from melies.config import from_json, to_json
from melies.errors import UserError
from melies.interfaces import TextEncoder
from melies.text.config import TextConfig
from melies.text.encode import check_texts
from melies.text.learned import PADDING, UNKNOWN, LearnedEncoder, build_vocabulary

CAPTIONS = ["a polar bear", "a mechanic: dark skin tone", "the bear", "Bär, C# 7"]
CONFIG = TextConfig(name="learned", vocabulary=build_vocabulary(CAPTIONS), dim=16, max_tokens=12, num_heads=2)


def encoder_with(**fields) -> LearnedEncoder:
    torch.manual_seed(0)
    return LearnedEncoder(from_json(TextConfig, to_json(CONFIG) | fields)).eval()


def pieces(encoder, text):
    ids, valid = encoder.tokenize([text])
    return [encoder.config.vocabulary[i] for i in ids[valid]]


def test_the_vocabulary_is_marks_characters_and_words_by_frequency():
    vocabulary = build_vocabulary(["b a", "b c", "b a ß"])
    assert vocabulary[:2] == (PADDING, UNKNOWN)
    assert vocabulary[-4:] == ("b", "a", "c", "ss")  # case folding: ß is ss
    assert len(set(vocabulary)) == len(vocabulary)
    assert {"#a", "#z", "#0", "#9", "#-"} <= set(vocabulary)


def test_rare_words_are_left_to_spelling():
    assert build_vocabulary(["b a", "b c"], min_count=2)[-1] == "b"
    assert build_vocabulary(["b a", "b c"], max_words=2)[-2:] == ("b", "a")


def test_known_words_are_one_token_and_unknown_ones_are_spelled():
    encoder = encoder_with()
    assert pieces(encoder, "the POLAR bear, c#") == ["the", "polar", "bear", ",", "c", "#"]
    assert pieces(encoder, "the cat") == ["the", "#c", "#a", "#t"]
    assert pieces(encoder, "bär b\u00e4r ba\u0308r") == ["bär"] * 3  # one word, however it is composed
    assert pieces(encoder, "the 熊") == ["the", UNKNOWN]


@settings(deadline=None, max_examples=100)
@given(text=st.text(max_size=30))
def test_no_part_of_a_text_is_dropped_in_silence(text):
    encoder = encoder_with(max_tokens=4)
    try:
        check_texts([text])
    except UserError:
        return
    assert (not encoder.cut(text)) == (len(pieces(encoder_with(max_tokens=200), text)) <= 4)


def test_cut_says_what_is_not_read():
    encoder = encoder_with(max_tokens=4)
    assert encoder.cut("a polar bear a") == ""
    assert encoder.cut("a polar bear a polar bear") == "polar bear"
    assert encoder.cut("the bear and  cats") == "and  cats"  # the word that is cut in two is named whole
    assert encoder.too_long(["a polar bear a", "the bear and cats"]) == ["the bear and cats"]


def test_states_follow_the_protocol():
    encoder = encoder_with()
    states = encoder(CAPTIONS)
    assert isinstance(encoder, TextEncoder)
    assert states.tokens.shape == (4, 12, 16)
    assert states.pooled.shape == (4, 16)
    assert not states.tokens[~states.valid].any()
    assert_close(states.pooled[2], states.tokens[2, :2].mean(0))


def test_a_batch_equals_its_single_texts_and_padding_changes_nothing():
    encoder = encoder_with()
    together = encoder(CAPTIONS)
    for row, caption in enumerate(CAPTIONS):
        assert_close(together.tokens[row], encoder([caption]).tokens[0], atol=1e-5, rtol=0)
    ids, valid = encoder.tokenize(["the bear"])
    assert_close(encoder.states(ids[:, :2], valid[:, :2]).tokens, encoder(["the bear"]).tokens[:, :2])


def test_what_stands_at_padding_does_not_matter():
    encoder = encoder_with()
    ids, valid = encoder.tokenize(["the bear"])
    other = torch.where(valid, ids, 5)
    assert torch.equal(encoder.states(ids, valid).tokens, encoder.states(other, valid).tokens)


def test_order_matters():
    encoder = encoder_with()
    assert (encoder(["bear the"]).pooled - encoder(["the bear"]).pooled).abs().max() > 1e-3


def test_it_learns_to_tell_texts_apart():
    encoder = encoder_with().train()
    head = torch.nn.Linear(16, 3)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=1e-2)
    texts, target = ["dark bear", "polar bear", "bear dark"], torch.arange(3)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(head(encoder(texts).pooled), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())


def test_the_config_and_the_weights_make_the_same_encoder_again():
    encoder = encoder_with()
    again = LearnedEncoder(from_json(TextConfig, to_json(encoder.config)))
    assert again.sha256 != encoder.sha256
    again.load_state_dict(encoder.state_dict())
    assert again.identity == encoder.identity
    assert torch.equal(again.eval()(CAPTIONS).tokens, encoder(CAPTIONS).tokens)


@pytest.mark.parametrize("vocabulary", [(), ("a", "b"), (PADDING, UNKNOWN, "a", "a")])
def test_a_vocabulary_that_is_none_is_refused(vocabulary):
    with pytest.raises(UserError, match="no valid vocabulary"):
        LearnedEncoder(TextConfig(name="learned", vocabulary=vocabulary))


def test_a_width_that_does_not_divide_is_refused():
    with pytest.raises(UserError, match="dim = 10 is not a multiple of num_heads = 4"):
        encoder_with(dim=10, num_heads=4)


@pytest.mark.parametrize("text", ["", " \n", "\u200b"])
def test_an_empty_text_is_refused(text):
    with pytest.raises(UserError, match="empty"):
        encoder_with()([text])
