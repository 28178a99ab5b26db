"""Precision, recall and F1 of labels: by hand, and beside scikit-learn."""

import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support

from melies.metrics.labels import confusion, label_scores, measure_labels, weighted


def test_two_labels_by_hand():
    truth, found = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1])
    scores = label_scores(confusion(truth, found, 3))
    assert scores.precision.tolist() == [1.0, 0.5, 0.0]
    assert scores.recall.tolist() == pytest.approx([2 / 3, 1.0, 0.0])
    assert scores.f1.tolist() == pytest.approx([0.8, 2 / 3, 0.0])
    assert scores.support.tolist() == [3, 1, 0]


def test_all_agree_with_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    truth, found = (torch.randint(0, 9, (500,), generator=generator) for _ in range(2))
    truth[:50], found[truth == 4] = 8, 7  # one that is never given, and one that is often
    scores = label_scores(confusion(truth, found, 10))
    expected = precision_recall_fscore_support(truth, found, labels=range(10), zero_division=0)
    for ours, theirs in zip(scores, expected, strict=True):
        assert torch.allclose(ours.double(), torch.from_numpy(theirs).double())
    three = precision_recall_fscore_support(truth, found, average="weighted", zero_division=0)[:3]
    assert torch.allclose(weighted(scores), torch.tensor(three, dtype=torch.float64))


def test_tracks_are_drawn_again_whole():
    truth = [torch.tensor([0, 0, 1]), torch.tensor([1, 1])] * 10
    same = measure_labels("C", truth, truth, num_labels=2, num_resamples=20)
    assert [metric.name for metric in same] == ["C precision", "C recall", "C F1"]
    for metric in same:
        assert (metric.value, *metric.interval) == pytest.approx((1, 1, 1))
    assert same[0].num_samples == 20
    wrong = measure_labels("C", truth, [1 - one for one in truth], num_labels=2, num_resamples=20)
    assert wrong[2].value == 0
    with pytest.raises(ValueError, match="as long as"):
        measure_labels("C", truth, truth[::-1], num_labels=2)
