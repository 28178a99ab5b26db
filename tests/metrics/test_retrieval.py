"""Ranks of what belongs together."""

import torch

from melies.metrics.retrieval import measure_retrieval, rank_of_own


def test_ranks_by_hand():
    similarity = torch.tensor([[0.9, 0.1, 0.2], [0.8, 0.5, 0.1], [0.3, 0.2, 0.1]])
    assert rank_of_own(similarity).tolist() == [1, 2, 3]


def test_who_finds_all_alike_has_found_nothing():
    assert rank_of_own(torch.ones(4, 4)).tolist() == [4, 4, 4, 4]


def test_shares_and_median():
    metrics = {m.name: m for m in measure_retrieval("t2c", torch.eye(6), ranks=(1, 5, 10))}
    assert set(metrics) == {"t2c R@1", "t2c R@5", "t2c MedR"}  # of 6 none is beyond the tenth
    assert metrics["t2c R@1"].value == 1
    assert metrics["t2c MedR"].value == 1
    chance = measure_retrieval("t2c", torch.rand(50, 50, generator=torch.Generator().manual_seed(0)))
    assert chance[0].value < 0.2
