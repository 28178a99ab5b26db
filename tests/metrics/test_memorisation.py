import math

import pytest
import torch

from melies.errors import UserError
from melies.metrics.memorisation import measure_memorisation
from melies.metrics.neighbours import nearest


def normal(seed, n=300, d=6):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distances(points, training):
    return nearest(points, training).distances[:, 0]


def test_new_samples_are_like_held_out_ones_and_copies_are_not():
    training = normal(0)
    held_out = distances(normal(1), training)
    new = measure_memorisation(distances(normal(2), training), held_out)
    assert new.copied.interval[0] < 0.05 < new.copied.interval[1]
    assert new.ratio.interval[0] < 1 < new.ratio.interval[1]
    copies = measure_memorisation(distances(training[:50] + 1e-3, training), held_out)
    assert copies.copied.value == 1
    assert copies.copied.interval[0] > 0.9
    assert copies.ratio.value < 0.01
    half = torch.cat([normal(2)[:100], training[:100]])
    mixed = measure_memorisation(distances(half, training), held_out)
    assert mixed.copied.interval[0] < 0.525 < mixed.copied.interval[1]
    assert mixed.copied.num_samples == 200


def test_the_interval_knows_that_the_limit_is_uncertain():
    """Of uniform distances, var(share) = p(1 − p)(1/n + 1/m), about, from both sets."""
    generator = torch.Generator().manual_seed(0)
    ours, real = torch.rand(2000, generator=generator), torch.rand(500, generator=generator)
    found = measure_memorisation(ours, real, percentile=20).copied
    expected = 2 * 1.96 * math.sqrt(0.2 * 0.8 * (1 / 2000 + 1 / 500))
    assert found.interval[1] - found.interval[0] == pytest.approx(expected, rel=0.2)
    assert found.interval[0] < 0.2 < found.interval[1]


def test_none_copied_is_not_certainty():
    found = measure_memorisation(torch.full((30,), 9.0), torch.rand(100)).copied
    assert found.value == 0
    assert 0.01 < found.interval[1] < 0.15


def test_distances_that_tell_nothing_are_refused():
    with pytest.raises(UserError, match="equal to training rows"):
        measure_memorisation(torch.rand(10), torch.cat([torch.zeros(10), torch.rand(90)]))
    with pytest.raises(UserError, match="no distances"):
        measure_memorisation(torch.rand(0), torch.rand(10))
