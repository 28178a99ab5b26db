"""What every family of picture models does alike, whatever it is made of."""

import pytest
import torch

from melies import checkpoint
from melies.errors import UserError
from melies.images.families import MIXINGS_OF, open_family
from melies.images.mix import mixed
from melies.interfaces import PictureModel
from melies.rng import noise_for

from .conftest import BUILD, CASES, Shape, build


def labels_for(family, num: int):
    """Classes in turn, or None for a model without."""
    classes = family.model.classes
    return torch.arange(num) % len(classes) if classes else None


def pixels_for(family, num: int) -> torch.Tensor:
    """Pictures of smooth patches, which every family can make something of."""
    coarse = torch.randint(
        0, 256, (num, family.model.shape[0], 2, 2), generator=torch.Generator().manual_seed(3)
    )
    side = family.model.shape[-1] // 2
    return coarse.repeat_interleave(side, 2).repeat_interleave(side, 3).to(torch.uint8)


def far(a: torch.Tensor, b: torch.Tensor) -> int:
    return int((a.int() - b.int()).abs().max())


def test_it_is_a_picture_model_of_a_known_kind(family):
    assert isinstance(family.model, PictureModel)
    assert family.model.shape == (1, 8, 8)
    assert family.mixing == MIXINGS_OF[family.loaded.kind]


def test_every_kind_is_tried():
    kinds = {build(name, Shape(1, 8), classes).kind for name, classes in CASES}
    assert kinds == set(MIXINGS_OF)


@pytest.mark.parametrize("shape", [Shape(1, 28), Shape(3, 32), Shape(3, 64)], ids=str)
@pytest.mark.parametrize("name", BUILD)
def test_pictures_of_every_shape_go_in_and_out(name, shape, tmp_path):
    family = open_family(checkpoint.save(tmp_path / "model", build(name, shape, ())), num_steps=2)
    assert family.model.shape == (shape.channels, shape.size, shape.size)
    drawn = family.sample([0])
    assert (tuple(drawn.shape[1:]), drawn.dtype) == (family.model.shape, torch.uint8)
    assert family.decode(family.encode(drawn)).shape == drawn.shape


def test_one_seed_is_one_picture_whatever_is_drawn_with_it(family):
    labels = labels_for(family, 5)
    together = family.sample([7, 8, 9, 10, 11], labels)
    apart = torch.cat(
        [family.sample([7 + i], None if labels is None else labels[i : i + 1]) for i in range(5)]
    )
    assert far(together, apart) <= 1
    assert torch.equal(together, family.sample([7, 8, 9, 10, 11], labels))
    others = family.sample([17, 18, 19, 20, 21], labels)
    assert far(together, others) > 2


def test_all_randomness_comes_from_the_noise_it_is_handed(family):
    labels = labels_for(family, 2)
    first = family.model.sample(2, noise=noise_for([1, 2]), labels=labels)
    state = torch.get_rng_state()
    torch.manual_seed(99)
    again = family.model.sample(2, noise=noise_for([1, 2]), labels=labels)
    assert torch.equal(first, again)
    torch.set_rng_state(state)
    family.model.sample(2, noise=noise_for([1, 2]), labels=labels)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_class_asked_for_matters_and_is_needed(family):
    if not family.model.classes:
        with pytest.raises(UserError, match="has no classes"):
            family.model.sample(2, noise=noise_for([1, 2]), labels=torch.tensor([0, 1]))
        return
    seeds = list(range(20))
    bags, shirts = (family.sample(seeds, torch.full((20,), label)) for label in (0, 2))
    assert far(bags, shirts) > 2
    with pytest.raises(UserError):
        family.model.sample(2, noise=noise_for([1, 2]))
    with pytest.raises(UserError, match="labels from 0 to 3"):
        family.model.sample(2, noise=noise_for([1, 2]), labels=torch.tensor([0, 3]))


def test_latents_are_finite_belong_to_their_picture_and_decode(family):
    pixels, labels = pixels_for(family, 5), labels_for(family, 5)
    latents = family.encode(pixels, labels)
    assert len(latents) == 5
    assert latents.isfinite().all()
    last = family.encode(pixels[4:], None if labels is None else labels[4:])
    torch.testing.assert_close(latents[4:], last, rtol=1e-3, atol=1e-3)
    decoded = family.decode(latents, labels)
    assert (decoded.shape, decoded.dtype) == (pixels.shape, torch.uint8)
    assert far(decoded, family.decode(latents, labels, batch_size=2)) <= 1
    assert far(decoded, family.reconstruct(pixels, labels)) <= 1


def test_pictures_of_another_shape_are_refused(family):
    labels = labels_for(family, 1)
    for wrong in (torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 10, 10)):
        with pytest.raises(UserError, match="pictures"):
            family.model.encode(wrong, labels)


@pytest.mark.parametrize("mixing", ["linear", "spherical"])
def test_what_lies_between_two_latents_decodes(family, mixing):
    labels = labels_for(family, 2)
    latents = family.encode(pixels_for(family, 2), labels)
    way = mixed(latents[:1], latents[1:], num=4, mixing=mixing)[0]
    along = None if labels is None else labels[:1].expand(4)
    pictures = family.decode(way, along)
    assert pictures.shape == (4, *family.model.shape)
    assert far(pictures[:1], family.decode(latents[:1], None if labels is None else labels[:1])) <= 1


def test_no_gradient_is_left_behind(family):
    labels = labels_for(family, 2)
    assert not family.model.sample(2, noise=noise_for([0, 1]), labels=labels).requires_grad
    family.encode(pixels_for(family, 2), labels)
    assert all(parameter.grad is None for parameter in family.loaded.model.parameters())


def test_a_checkpoint_keeps_every_picture(family, folder, tmp_path):
    labels = labels_for(family, 3)
    again = open_family(checkpoint.save(tmp_path / "again", family.loaded.model), num_steps=3)
    assert torch.equal(family.sample([1, 2, 3], labels), again.sample([1, 2, 3], labels))
    run = open_family(folder.parent, num_steps=3)  # the run, its newest checkpoint
    assert torch.equal(family.sample([1, 2, 3], labels), run.sample([1, 2, 3], labels))


def test_half_precision_draws_nearly_the_same(family, folder, tmp_path):
    checkpoint.export(tmp_path / "half", family.loaded)
    half = open_family(tmp_path / "half", num_steps=3)
    labels = labels_for(family, 8)
    full, short = (model.sample(range(8), labels).float() for model in (family, half))
    near = (full - short).abs().flatten(1).mean(1) < 4
    assert (
        near.float().mean() >= 0.7
    )  # a code that is drawn at the edge of another may fall to the other side
    assert all(weight.dtype == torch.float32 for weight in half.loaded.model.parameters())
