"""A sudden rise is found where there is one, and a number that rises no more is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from melies.metrics.convergence import Jump, find_jump, has_settled

FLAT = [0.30, 0.31, 0.30, 0.29, 0.31]
HIGH = [0.80, 0.81, 0.80, 0.82]


def at(values):
    return [1000.0 * i for i in range(len(values))]


def test_a_step_is_a_jump_at_its_place():
    values = FLAT + HIGH
    assert find_jump(at(values), values) == Jump(4000.0, 5000.0, 0.31, 0.80)


def test_a_step_in_two_intervals_is_one_jump():
    values = [*FLAT, 0.56, *HIGH]
    found = find_jump(at(values), values)
    assert found is not None
    assert (found.before, found.after) == (4000.0, 6000.0)


@pytest.mark.parametrize(
    "values",
    [
        [0.3 + 0.05 * i for i in range(12)],
        FLAT * 2,
        [0.3, 0.5, 0.3, 0.5, 0.31, 0.5, 0.3],
        [0.8, 0.8, 0.8, 0.8, 0.3, 0.3],
        [0.3, 0.3, 0.8, 0.8],
    ],
    ids=["slow", "flat", "unsteady", "falling", "too short"],
)
def test_what_is_no_jump(values):
    assert find_jump(at(values), values) is None


@given(
    low=st.floats(0.0, 0.4),
    rise=st.floats(0.2, 0.6),
    before=st.integers(2, 8),
    after=st.integers(3, 8),
    seed=st.randoms(use_true_random=False),
)
def test_any_step_much_larger_than_the_noise_is_found(low, rise, before, after, seed):
    values = [
        low + (rise if i >= before else 0) + seed.uniform(-1, 1) * rise / 40 for i in range(before + after)
    ]
    found = find_jump(at(values), values)
    assert found is not None
    assert found.before <= 1000 * (before - 1) < 1000 * before <= found.after


def test_it_has_settled_when_patience_brings_no_gain():
    rising = [0.3, 0.5, 0.6, 0.7]
    assert not has_settled(rising, patience=2, gain=0.01)
    assert not has_settled([*rising, 0.705], patience=2, gain=0.01)  # the 0.7 is still among the last two
    assert has_settled([*rising, 0.705, 0.70], patience=2, gain=0.01)
    assert not has_settled([*rising, 0.705, 0.72], patience=2, gain=0.01)
    assert not has_settled([0.5, 0.5], patience=2, gain=0.01)


def test_every_value_has_its_place():
    with pytest.raises(ValueError, match="2 watches and 3 values"):
        find_jump([1, 2], [1, 2, 3])
