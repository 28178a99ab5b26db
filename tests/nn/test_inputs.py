"""Pictures and labels that do not fit a model are refused in words."""

import pytest
import torch

from melies.errors import UserError
from melies.nn.inputs import check_labels, check_pictures

CLASSES = ("bag", "coat", "dress")


def test_what_fits_is_let_through():
    check_pictures(torch.zeros(0, 1, 8, 8), (1, 8, 8))
    check_labels(torch.tensor([0, 2]), CLASSES, 2)
    check_labels(torch.zeros(0, dtype=torch.int64), CLASSES, 0)
    check_labels(None, (), 2)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((2, 3, 8, 8), "knows grey 8×8 pictures, and these are colour 8×8"),
        ((2, 1, 8, 9), "these are grey 8×9"),
        ((2, 4, 8, 8), "these are 4-channel 8×8"),
        ((2, 64), "these are 1-dimensional"),
    ],
)
def test_pictures_of_another_shape_are_refused(shape, said):
    with pytest.raises(UserError, match=said):
        check_pictures(torch.zeros(shape), (1, 8, 8))


@pytest.mark.parametrize(
    ("labels", "classes", "said"),
    [
        (None, CLASSES, "needs the class of every picture. Valid: bag, coat, dress"),
        (torch.tensor([0, 1]), (), "has no classes"),
        (torch.tensor([0]), CLASSES, r"one for each of 2 pictures, and not torch.int64 of shape \(1,\)"),
        (torch.tensor([0.0, 1.0]), CLASSES, "not torch.float32"),
        (torch.tensor([0, 3]), CLASSES, "labels from 0 to 3 for a model of 3 classes"),
        (torch.tensor([-1, 0]), CLASSES, "labels from -1 to 0"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, classes, said):
    with pytest.raises(UserError, match=said):
        check_labels(labels, classes, 2)
