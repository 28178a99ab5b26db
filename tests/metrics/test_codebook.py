import functools
import math
import operator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.errors import UserError
from melies.metrics.codebook import count_codes, measure_codebook


def test_counts_by_hand():
    found = count_codes(torch.tensor([[[0, 0], [1, 3]]]), 5)
    assert found.counts.tolist() == [2, 1, 0, 1, 0]
    assert found.usage == pytest.approx(3 / 5)
    entropy = 0.5 * math.log(2) + 2 * 0.25 * math.log(4)
    assert found.perplexity == pytest.approx(math.exp(entropy))


def epoch_of(batches, num_codes):
    return functools.reduce(operator.add, (count_codes(batch, num_codes) for batch in batches))


@given(st.integers(0, 100), st.integers(1, 9))
def test_batches_add_up_to_the_epoch(seed, size):
    codes = torch.randint(0, 8, (20, 3, 3), generator=torch.Generator().manual_seed(seed))
    whole, parts = count_codes(codes, 10), epoch_of(codes.split(size), 10)
    assert torch.equal(parts.counts, whole.counts)
    assert parts.usage <= 0.8
    assert 1 <= parts.perplexity <= 8


def test_no_batch_shows_what_the_epoch_does():
    """Eight codes, one per batch: every batch has perplexity 1, the epoch 8."""
    batches = [torch.full((4, 2), number) for number in range(8)]
    assert [count_codes(batch, 8).perplexity for batch in batches] == pytest.approx([1] * 8)
    epoch = epoch_of(batches, 8)
    assert epoch.perplexity == pytest.approx(8)
    assert epoch.usage == 1


def test_the_interval_is_about_pictures_not_codes():
    """All codes of a picture alike: a hundred codes a picture tell no more than one."""
    one = torch.randint(0, 6, (50, 1), generator=torch.Generator().manual_seed(0))
    few = measure_codebook(one, 8)
    many = measure_codebook(one.repeat(1, 100), 8)
    for a, b in zip(few, many, strict=True):
        assert a == b
        assert a.interval[0] <= a.value <= a.interval[1]
    assert few[0].value == 6 / 8
    assert few[1].interval[0] < few[1].value < few[1].interval[1] <= 8
    assert (few[1].unit, few[1].num_samples) == ("codes", 50)


def test_what_is_not_in_the_book_is_refused():
    with pytest.raises(ValueError, match="of a book of 4"):
        count_codes(torch.tensor([[4]]), 4)
    with pytest.raises(ValueError, match="of a book of 4"):
        count_codes(torch.tensor([[-1]]), 4)
    with pytest.raises(ValueError, match="do not add up"):
        _ = count_codes(torch.tensor([[1]]), 4) + count_codes(torch.tensor([[1]]), 5)
    with pytest.raises(UserError, match="no codes"):
        _ = count_codes(torch.zeros(0, 1, dtype=torch.int64), 4).perplexity
    with pytest.raises(UserError, match="no codes"):
        measure_codebook(torch.zeros(0, 2, dtype=torch.int64), 4)
