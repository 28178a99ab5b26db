import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from melies.nn.attention import SHORT, Attention, KeyValueCache, attend


def heads(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    b, h, length, other, d = shape
    return (
        torch.randn(b, h, length, d, dtype=dtype),
        torch.randn(b, h, other, d, dtype=dtype),
        torch.randn(b, h, other, d, dtype=dtype),
    )


def test_equal_keys_give_the_mean_of_the_values():
    query, key, value = heads(2, 3, 5, 7, 4)
    attended = attend(query, key[:, :, :1].expand_as(key), value)
    torch.testing.assert_close(attended, value.mean(2, keepdim=True).expand_as(query))


def test_the_one_valid_key_gives_its_value():
    query, key, value = heads(1, 2, 4, 6, 8)
    valid = torch.arange(6)[None] == 3
    torch.testing.assert_close(attend(query, key, value, valid), value[:, :, 3:4].expand_as(query))


@given(
    length=st.integers(1, 9),
    other=st.integers(1, 9),
    masked=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_attend_is_scaled_dot_product_attention(length, other, masked, dtype):
    query, key, value = heads(2, 2, length, other, 4, dtype=dtype)
    valid = torch.rand(2, other) < 0.5 if masked else None
    if valid is not None:
        valid[:, 0] = True
    mask = None if valid is None else valid[:, None, None, :]
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(attend(query, key, value, valid), expected)


def test_both_ways_of_computing_agree_where_they_meet():
    query, key, value = heads(1, 1, SHORT + 1, SHORT + 1, 8)
    valid = torch.rand(1, SHORT + 1) < 0.8
    long = attend(query, key, value, valid)
    short = attend(query[:, :, :4], key[:, :, valid[0]][:, :, :SHORT], value[:, :, valid[0]][:, :, :SHORT])
    assert valid.sum() <= SHORT
    torch.testing.assert_close(long[:, :, :4], short)


def test_attend_in_half_precision_stays_near():
    query, key, value = heads(2, 2, 6, 6, 16, dtype=torch.float32)
    half = attend(query.bfloat16(), key.bfloat16(), value.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), attend(query, key, value), atol=0.03, rtol=0.03)


def test_the_layer_is_its_formula():
    layer = Attention(8, head_dim=4, context_dim=6).double()
    torch.nn.init.normal_(layer.head_gain)
    x, context = torch.randn(1, 3, 8, dtype=torch.float64), torch.randn(1, 5, 6, dtype=torch.float64)
    key, value = (context @ layer.key_value.weight.T).chunk(2, dim=-1)
    query = x @ layer.query.weight.T
    unit = [v / v.square().mean(-1, keepdim=True).sqrt() for v in (query.view(3, 2, 4), key.view(5, 2, 4))]
    expected = []
    for head in range(2):
        logits = (unit[0][:, head] * layer.head_gain) @ unit[1][:, head].T / math.sqrt(4)
        expected.append(logits.softmax(-1) @ value.view(5, 2, 4)[:, head])
    torch.testing.assert_close(layer(x, context)[0], layer.out(torch.cat(expected, -1)))


def test_the_order_of_the_context_is_of_no_account():
    layer = Attention(8, head_dim=4).double()
    x, context = torch.randn(2, 3, 8, dtype=torch.float64), torch.randn(2, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(layer(x, context), layer(x, context[:, torch.randperm(5)]))


def test_what_is_not_valid_is_not_seen_and_gets_no_gradient():
    layer = Attention(8, head_dim=4).double()
    x, context = torch.randn(2, 3, 8, dtype=torch.float64), torch.randn(2, 5, 8, dtype=torch.float64)
    valid = torch.tensor([[True, True, False, False, True], [True, False, False, False, False]])
    context.requires_grad_()
    layer(x, context, valid=valid).sum().backward()
    assert context.grad is not None
    assert context.grad[valid].abs().sum(-1).gt(0).all()
    assert context.grad[~valid].eq(0).all()


def test_the_scale_of_tokens_does_not_change_where_they_look():
    """Queries and keys are normalised, so only the values carry the scale."""
    layer = Attention(8, head_dim=4).double()
    torch.nn.init.zeros_(layer.out.bias)
    x = torch.randn(1, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(layer(1000 * x) / 1000, layer(x), rtol=1e-4, atol=1e-6)


def test_an_edit_sees_heads_and_name_and_may_replace_or_decline():
    layer = Attention(8, head_dim=4)
    x = torch.randn(2, 3, 8)
    seen = []

    def decline(query, key, value, name):
        seen.append((name, query.shape, key.shape, value.shape))

    def identity(query, key, value, name):
        return value

    assert torch.equal(layer(x, edit=decline, name="block0.self"), layer(x))
    assert seen == [("block0.self", *[(2, 2, 3, 4)] * 3)]
    only_values = layer.out(layer.key_value(x)[..., 8:])
    torch.testing.assert_close(layer(x, edit=identity), only_values)


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="multiple of the head width"):
        Attention(10, head_dim=4)


@given(length=st.integers(1, 6), before=st.integers(0, 5), masked=st.booleans())
def test_a_causal_query_is_the_last_of_its_keys(length, before, masked):
    """Each query alone, against the keys up to its own, gives the same."""
    query, key, value = heads(2, 2, length, before + length, 4)
    valid = torch.rand(2, before + length) < 0.5 if masked else None
    if valid is not None:
        valid[:, 0] = True
    attended = attend(query, key, value, valid, causal=True)
    for place in range(length):
        seen = before + place + 1
        alone = attend(
            query[:, :, place : place + 1],
            key[:, :, :seen],
            value[:, :, :seen],
            None if valid is None else valid[:, :seen],
        )
        torch.testing.assert_close(attended[:, :, place : place + 1], alone)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("before", [0, 3])
def test_long_causal_attention_sees_no_later_key_either(masked, before):
    query, key, value = heads(1, 2, SHORT + 1, SHORT + 1 + before, 4)
    valid = torch.ones(1, SHORT + 1 + before, dtype=torch.bool) if masked else None
    attended = attend(query, key, value, valid, causal=True)
    later = value.clone()
    later[:, :, before + 40 :] = 7.0
    changed = attend(query, key, later, valid, causal=True)
    torch.testing.assert_close(changed[:, :, :40], attended[:, :, :40])
    assert not torch.allclose(changed[:, :, 40], attended[:, :, 40])


def test_tokens_one_at_a_time_give_what_all_at_once_do():
    layer = Attention(8, head_dim=4).double()
    x = torch.randn(3, 6, 8, dtype=torch.float64)
    cache = KeyValueCache()
    steps = [layer(part, causal=True, cache=cache) for part in x.split([1, 2, 1, 2], dim=1)]
    torch.testing.assert_close(torch.cat(steps, dim=1), layer(x, causal=True))
