import torch

from melies.metrics import features as features_module
from melies.metrics.pairs import num_pairs, sums_between, sums_within


def product(a, b):
    return a @ b.T + 1


def normal(seed, n, d=3):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_sums_are_those_of_the_whole_matrix(monkeypatch):
    """Whatever the size of a tile; copies of a row are no pair."""
    a, b = normal(0, 11), normal(1, 7)
    v, w = torch.randint(0, 4, (2, 11)).double(), torch.randint(0, 4, (2, 7)).double()
    kernel = product(a, a)
    kernel.diagonal().zero_()
    within = torch.einsum("ri,ij,rj->r", v, kernel, v)
    between = torch.einsum("ri,ij,rj->r", v, product(a, b), w)
    for block in (2**22, 8192, 1):
        monkeypatch.setattr(features_module, "_BLOCK", block)
        torch.testing.assert_close(sums_within(product, a, v), within)
        torch.testing.assert_close(sums_between(product, a, b, v, w), between)


def test_pairs_are_counted_without_copies():
    assert num_pairs(torch.tensor([[1.0, 1, 1], [2, 1, 0], [3, 0, 0]])).tolist() == [6, 4, 1]
