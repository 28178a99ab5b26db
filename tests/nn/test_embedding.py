import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.nn.embedding import ConditionEmbedding, sinusoidal, sinusoidal_2d


def test_sinusoidal_at_zero_is_ones_then_zeros():
    assert sinusoidal(torch.zeros(1), 8).tolist() == [[1.0] * 4 + [0.0] * 4]


@given(a=st.floats(-50, 50), b=st.floats(-50, 50), shift=st.floats(-20, 20))
def test_products_of_sinusoids_depend_on_the_distance_only(a, b, shift):
    left, right, left_moved, right_moved = sinusoidal(torch.tensor([a, b, a + shift, b + shift]), 16).double()
    torch.testing.assert_close(left @ right, left_moved @ right_moved, atol=1e-3, rtol=0)
    torch.testing.assert_close(left @ left, torch.tensor(8.0).double())


@pytest.mark.parity
def test_sinusoidal_agrees_with_diffusers():
    from diffusers.models.embeddings import get_timestep_embedding

    position = torch.tensor([-3.5, 0.0, 0.25, 17.0, 999.0])
    theirs = get_timestep_embedding(position, 32, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(sinusoidal(position, 32), theirs)


def test_positions_of_a_grid_are_row_major_y_then_x():
    grid = sinusoidal_2d(3, 5, 16)
    assert grid.shape == (15, 16)
    index = 2 * 5 + 4  # y = 2, x = 4
    torch.testing.assert_close(grid[index, :8], sinusoidal(torch.tensor([2]).float(), 8)[0])
    torch.testing.assert_close(grid[index, 8:], sinusoidal(torch.tensor([4]).float(), 8)[0])
    assert len(torch.unique(grid, dim=0)) == 15


def condition_of(*lengths: int) -> dict[str, torch.Tensor]:
    b, longest = len(lengths), max(lengths)
    return {
        "text": torch.randn(b, longest, 6),
        "text_valid": torch.arange(longest) < torch.tensor(lengths)[:, None],
        "class": torch.arange(b) % 3,
    }


@pytest.fixture
def embedding() -> ConditionEmbedding:
    return ConditionEmbedding(8, num_classes=3, text_dim=6)


def test_what_is_not_present_is_the_learned_null(embedding):
    condition = condition_of(2, 4)
    absent = torch.tensor([False, False])
    states = embedding(torch.zeros(2), {**condition, "present.text": absent, "present.class": absent})
    nothing = embedding(torch.zeros(2), {})
    torch.testing.assert_close(states.vector, nothing.vector)
    assert states.valid.sum(1).tolist() == nothing.valid.sum(1).tolist() == [1, 1]
    torch.testing.assert_close(states.tokens[states.valid], nothing.tokens[nothing.valid])


def test_present_true_is_the_same_as_saying_nothing_about_it(embedding):
    condition = condition_of(2, 4)
    here = torch.tensor([True, True])
    said = embedding(torch.zeros(2), {**condition, "present.text": here, "present.class": here})
    unsaid = embedding(torch.zeros(2), condition)
    assert torch.equal(said.vector, unsaid.vector)
    assert torch.equal(said.tokens, unsaid.tokens)
    assert torch.equal(said.valid, unsaid.valid)


def test_rows_are_dropped_one_by_one(embedding):
    condition = condition_of(3, 3, 3)
    some = {**condition, "present.text": torch.tensor([True, False, True])}
    mixed, full = embedding(torch.zeros(3), some), embedding(torch.zeros(3), condition)
    torch.testing.assert_close(mixed.vector[[0, 2]], full.vector[[0, 2]])
    assert not torch.allclose(mixed.vector[1], full.vector[1])


def test_the_mean_of_the_text_ignores_padding(embedding):
    condition = condition_of(2, 4)
    before = embedding(torch.zeros(2), condition).vector
    condition["text"][0, 2:] = 1e3
    torch.testing.assert_close(embedding(torch.zeros(2), condition).vector, before)


def test_noise_level_class_and_text_each_matter(embedding):
    torch.nn.init.normal_(embedding.text_pooled.weight)
    condition = condition_of(2, 2)
    vector = embedding(torch.zeros(2), condition).vector
    others = [
        embedding(torch.ones(2), condition).vector,
        embedding(torch.zeros(2), {**condition, "class": condition["class"] + 1}).vector,
        embedding(torch.zeros(2), {**condition, "text": condition["text"].flip(0)}).vector,
    ]
    for other in others:
        assert (other - vector).abs().amax(1).gt(1e-4).all()


@pytest.mark.parametrize(
    ("name", "value"), [("class", torch.zeros(1).long()), ("text", torch.zeros(1, 2, 6))]
)
def test_a_condition_the_network_was_not_built_for_is_refused(name, value):
    plain = ConditionEmbedding(8)
    with pytest.raises(ValueError, match="was built without"):
        plain(torch.zeros(1), {name: value})


def test_without_text_there_are_no_tokens():
    states = ConditionEmbedding(8, num_classes=2)(torch.zeros(3), {"class": torch.tensor([0, 1, 1])})
    assert states.vector.shape == (3, 8)
    assert states.tokens is None
    assert states.valid is None
