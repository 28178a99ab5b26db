"""Balance and endless streams: exact shares, and the same order however it is asked for."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.data import balance
from melies.data.balance import balanced_weights, index_at, index_stream, uniform_at


def test_power_zero_is_uniform_and_one_makes_groups_equal():
    groups = ["a"] * 90 + ["b"] * 10
    torch.testing.assert_close(balanced_weights(groups, 0.0), torch.full((100,), 0.01, dtype=torch.float64))
    assert float(balanced_weights(groups, 1.0)[:90].sum()) == pytest.approx(0.5)


def test_power_half_weighs_groups_by_the_root_of_their_size():
    weights = balanced_weights(["a"] * 90 + ["b"] * 10, 0.5)
    assert float(weights[:90].sum() / weights[90:].sum()) == pytest.approx(3.0)
    assert float(weights.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize(("groups", "power"), [([], 0.5), (["a"], -1.0), (["a"], 2.0), (["a"], float("nan"))])
def test_bad_balance_is_refused(groups, power):
    with pytest.raises(ValueError, match="need some groups"):
        balanced_weights(groups, power)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100, 7572])
def test_equal_weights_are_epochs_of_all_samples(count):
    stream = index_stream(torch.full((count,), 1 / count, dtype=torch.float64), seed=3)
    for epoch in range(3):
        assert sorted(stream(epoch * count, count).tolist()) == list(range(count))


def test_every_block_holds_each_sample_its_share_rounded_up_or_down():
    weights = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights[7] = 0
    shares = weights / weights.sum() * 50
    stream = index_stream(weights, seed=0)
    total = torch.zeros(50, dtype=torch.float64)
    for number in range(200):
        counts = torch.bincount(stream(number * 50, 50), minlength=50)
        assert ((counts >= shares.floor()) & (counts <= shares.ceil())).all()
        total += counts
    assert total[7] == 0
    # Offsets spread by the golden ratio miss the exact share by O(log blocks), not by its root.
    assert float((total - 200 * shares).abs().max()) < 3


@given(
    st.lists(st.floats(0.0, 10.0), min_size=1, max_size=20).filter(lambda weights: sum(weights) > 0.1),
    st.integers(0, 100),
    st.lists(st.integers(0, 30), min_size=1, max_size=6),
)
def test_any_cutting_gives_the_same_stream(weights, start, sizes):
    weights = torch.tensor(weights, dtype=torch.float64)
    stream = index_stream(weights, seed=1)
    parts, position = [], start
    for size in sizes:
        parts.append(stream(position, size))
        position += size
    torch.testing.assert_close(torch.cat(parts), index_at(start, sum(sizes), weights, 1))


def test_seeds_and_epochs_differ():
    weights = torch.ones(100, dtype=torch.float64)
    assert not torch.equal(index_at(0, 100, weights, 0), index_at(0, 100, weights, 1))
    assert not torch.equal(index_at(0, 100, weights, 0), index_at(100, 100, weights, 0))


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [float("inf")]])
def test_bad_weights_are_refused(weights):
    with pytest.raises(ValueError, match="weight"):
        index_stream(torch.tensor(weights, dtype=torch.float64), seed=0)


def test_the_mixer_gives_the_published_values():
    # The first outputs of SplitMix64 from state 0 in the authors' own implementation.
    states = [balance._signed(0x9E3779B97F4A7C15 * step % 2**64) for step in (1, 2, 3)]
    mixed = balance._mixed(torch.tensor(states)).tolist()
    assert [value % 2**64 for value in mixed] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_uniform_at_is_uniform_and_a_function_of_position():
    numbers = uniform_at(torch.arange(10_000), seed=0, stream="x")
    assert float(numbers.min()) >= 0
    assert float(numbers.max()) < 1
    grid = (np.arange(10_000) + 0.5) / 10_000
    assert np.abs(np.sort(numbers.numpy()) - grid).max() < 0.0195  # Kolmogorov-Smirnov, one in a thousand
    torch.testing.assert_close(uniform_at(torch.arange(500, 600), seed=0, stream="x"), numbers[500:600])
    other = uniform_at(torch.arange(10_000), seed=0, stream="y")
    assert abs(float(torch.corrcoef(torch.stack([numbers, other]))[0, 1])) < 0.04
