"""Opening models of every kind: names for classes, seeds for pictures, batches of any size."""

import pytest
import torch

from melies import checkpoint
from melies.checkpoint import KINDS
from melies.errors import UserError
from melies.images.families import MIXINGS_OF, open_family
from melies.images.mix import MIXINGS
from melies.interfaces import PictureModel


@pytest.fixture
def bags(pixel_model, tmp_path):
    return open_family(checkpoint.save(tmp_path / "bags", pixel_model), num_steps=3)


def test_every_kind_that_is_named_exists_and_is_mixed_in_a_known_way():
    assert set(MIXINGS_OF) <= set(KINDS)
    assert set(MIXINGS_OF.values()) <= set(MIXINGS)


def test_a_diffusion_model_opens_as_one_of_them(bags):
    assert isinstance(bags.model, PictureModel)
    assert bags.model.shape == (1, 8, 8)
    assert bags.mixing == "spherical"


@pytest.mark.parametrize(
    ("names", "num", "expected"),
    [(["coat"], 3, [1, 1, 1]), (["shirt", "bag"], 2, [2, 0])],
)
def test_one_class_for_all_or_one_each(bags, names, num, expected):
    assert bags.labels_of(names, num).tolist() == expected


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["cot"], "did you mean 'coat'"),
        ([], r"--class bag \| coat \| shirt"),
        (["bag", "coat"], "2 classes for 3 pictures"),
    ],
)
def test_classes_that_do_not_fit_are_said(bags, names, said):
    with pytest.raises(UserError, match=said):
        bags.labels_of(names, 3)


def test_a_model_without_classes_takes_none(latent_folder):
    words = open_family(latent_folder, num_steps=2)
    assert words.labels_of([], 3) is None
    with pytest.raises(UserError, match="has no classes"):
        words.labels_of(["bag"], 1)
    assert words.sample([1, 2]).shape == (2, 3, 16, 16)


def test_batches_change_nothing_but_memory(bags):
    labels = torch.tensor([0, 1, 2, 0, 1])
    pixels = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)
    for work in (
        lambda size: bags.sample([3, 4, 5, 6, 7], labels, batch_size=size),
        lambda size: bags.reconstruct(pixels, labels, batch_size=size),
    ):
        whole, parts = work(5), work(2)
        assert whole.dtype == torch.uint8
        assert int((whole.int() - parts.int()).abs().max()) <= 1


def test_no_pictures_are_no_work(bags):
    with pytest.raises(UserError, match="no pictures"):
        bags.sample([])


def test_what_does_not_draw_is_refused(latent_model, tmp_path):
    folder = checkpoint.save(tmp_path / "codec", latent_model.parts["codec"])
    with pytest.raises(UserError, match="image-codec is not a model that draws"):
        open_family(folder)
