"""Nearest neighbours are those of differences in double precision, however close the race."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.metrics import neighbours
from melies.metrics.neighbours import nearest, nearest_others


def by_differences(queries, references, k, *, same=False):
    found = (queries.double()[:, None] - references.double()).norm(dim=2)
    if same:
        found.fill_diagonal_(torch.inf)
    return found.sort(dim=1, stable=True).values[:, :k]


def normal(seed, n, d, dtype=torch.float64):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@given(
    n=st.integers(1, 40),
    m=st.integers(1, 60),
    d=st.integers(1, 9),
    k=st.integers(1, 60),
    offset=st.sampled_from([0.0, 1.0, 1e6]),
    levels=st.sampled_from([0, 2, 5]),  # few levels: many rows at equal distances
)
def test_they_are_those_of_a_search_by_differences(n, m, d, k, offset, levels):
    queries, references = normal(0, n, d), normal(1, m, d)
    if levels:
        queries, references = ((x * levels).round() / levels for x in (queries, references))
    queries, references, k = queries + offset, references + offset, min(k, m)
    found = nearest(queries, references, k)
    torch.testing.assert_close(found.distances, by_differences(queries, references, k), rtol=0, atol=1e-9)
    along = (queries[:, None] - references[found.indices]).norm(dim=2)
    torch.testing.assert_close(along, found.distances, rtol=0, atol=1e-9)
    assert all(len(row.unique()) == k for row in found.indices)


@pytest.mark.parametrize("tile", [(512, 1024), (8, 16)])
def test_across_tiles_and_without_oneself(monkeypatch, tile):
    monkeypatch.setattr("melies.metrics.features._TILE", tile)
    points = normal(2, 100, 4)
    points[50:60] = points[:10]
    found = nearest_others(points, 3)
    torch.testing.assert_close(found.distances, by_differences(points, points, 3, same=True))
    assert not (found.indices == torch.arange(100)[:, None]).any()
    assert (found.distances[:10, 0] == 0).all()


def test_rows_that_single_precision_cannot_tell_apart_are_looked_at_again(monkeypatch):
    """Two hundred points within 1e-3 of each other, and one far away that takes the digits."""
    precisions = []
    candidates = neighbours._candidates

    def watched(queries, references, num, centre, dtype, own):
        precisions.append((dtype, len(queries)))
        return candidates(queries, references, num, centre, dtype, own)

    monkeypatch.setattr(neighbours, "_candidates", watched)
    references = torch.cat([normal(3, 200, 3) * 1e-4, torch.full((1, 3), 1e3, dtype=torch.float64)])
    queries = normal(4, 20, 3) * 1e-4
    found = nearest(queries, references, 2)
    torch.testing.assert_close(found.distances, by_differences(queries, references, 2), rtol=1e-5, atol=0)
    assert [dtype for dtype, _ in precisions] == [torch.float32, torch.float64]
    precisions.clear()
    nearest(normal(5, 20, 64), normal(6, 500, 64), 2)
    assert precisions == [(torch.float32, 20)]  # and where it can, nothing is


def test_numbers_too_large_for_single_precision_are_no_trouble():
    queries, references = normal(7, 10, 4) * 1e30, normal(8, 50, 4) * 1e30
    torch.testing.assert_close(
        nearest(queries, references, 3).distances, by_differences(queries, references, 3)
    )
