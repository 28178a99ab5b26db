"""Control branches of picture models: the base at first, hints followed, checkpoints that know their base."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from melies import checkpoint
from melies.errors import UserError
from melies.images.control import (
    ControlBranchConfig,
    PictureControl,
    Steering,
    hint_condition,
    new_branch,
    read_branch,
    steered,
    weights_of,
)
from melies.images.generate import draw, sigma_grid
from melies.images.model import ImageDiffusion, ImageDiffusionConfig
from melies.nn.unet import UNetConfig

CLASSES = ("left", "right")
KINDS = ("canny", "mask")


@pytest.fixture(scope="module")
def base() -> ImageDiffusion:
    shape = {"channels": 3, "size": 8, "widths": (8, 16), "blocks": 1, "attention": (4,), "head_dim": 8}
    network = UNetConfig(**shape, dim=16, num_classes=2)
    torch.manual_seed(0)
    model = ImageDiffusion(ImageDiffusionConfig(network=network, size=8, sigma_data=0.5, classes=CLASSES))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape))
    return model.eval().requires_grad_(False)


@pytest.fixture
def branch(base) -> PictureControl:
    return new_branch(base, KINDS).requires_grad_(False)


def stir(branch: PictureControl) -> PictureControl:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in (
            *branch.branch.join.parameters(),
            *branch.branch.hint[-1].parameters(),
            *branch.branch.kind.parameters(),
        ):
            parameter.normal_(std=0.3)
    return branch


def hints(count: int, channels: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (count, channels, 8, 8), dtype=torch.uint8, generator=generator)


def drawn(base: ImageDiffusion, *steering: Steering, count: int = 3, **options) -> Tensor:
    asked = {"classes": ["left", "right", "left"][:count], "num_steps": 3, "scale": 2.0, **options}
    return draw(base, steering=steering, **asked)


def test_a_fresh_branch_draws_what_the_base_draws(base, branch):
    steering = Steering(branch=branch, kind="mask", hints=hints(3))
    for options in ({}, {"guess": True}, {"sampler": "heun"}):
        rest = {key: value for key, value in options.items() if key != "guess"}
        assert torch.equal(drawn(base, steering, **options), drawn(base, **rest))


def test_a_hint_changes_what_is_drawn_and_its_scale_and_window_how_far(base, branch):
    stir(branch)
    steering = Steering(branch=branch, kind="mask", hints=hints(3))
    plain, full = drawn(base), drawn(base, steering)
    assert not torch.equal(full, plain)
    assert torch.equal(drawn(base, replace(steering, scale=0.0)), plain)
    assert torch.equal(drawn(base, replace(steering, interval=(200.0, 300.0))), plain)
    for change in ({"scale": 0.3}, {"window": (0.0, 0.4)}, {"interval": (1.0, 100.0)}, {"kind": "canny"}):
        other = drawn(base, replace(steering, **change))
        assert not torch.equal(other, full), change
        assert not torch.equal(other, plain), change


def test_two_hints_are_both_followed_and_pictures_do_not_depend_on_their_neighbours(base, branch):
    stir(branch)
    first = Steering(branch=branch, kind="mask", hints=hints(3))
    second = Steering(branch=branch, kind="canny", hints=255 - hints(3), scale=0.5)
    both = drawn(base, first, second)
    assert not torch.equal(both, drawn(base, first))
    assert not torch.equal(both, drawn(base, second))
    last = [replace(one, hints=one.hints[2:]) for one in (first, second)]
    alone = draw(base, classes=["left"], seeds=[2], steering=last, num_steps=3, scale=2.0)
    assert (alone[0].int() - both[2].int()).abs().max() <= 1


def test_guess_mode_needs_no_class_and_leaves_the_null_alone(base, branch):
    stir(branch)
    steering = Steering(branch=branch, kind="mask", hints=hints(2))
    guessed = draw(base, steering=[steering], guess=True, num_steps=3, scale=3.0)
    assert guessed.shape == (2, 3, 8, 8)
    sigmas = sigma_grid(base, 3, "karras")
    told = hint_condition([steering])
    denoise = steered(base, [steering], sigmas, guess=True)
    x, sigma = torch.randn(2, 3, 8, 8), torch.full((2,), 2.0)
    absent = {**told, "present.hint": torch.zeros(2, dtype=torch.bool)}
    assert torch.equal(denoise(x, sigma, absent), base(x, sigma, {}))
    assert not torch.equal(denoise(x, sigma, told), base(x, sigma, {}))
    with pytest.raises(UserError, match="one prompt, class or hint"):
        draw(base, num_steps=3)


def test_a_checkpoint_holds_the_branch_alone_and_knows_its_base(base, branch, tmp_path):
    stir(branch)
    folder = checkpoint.save(tmp_path / "base", base)
    loaded = checkpoint.load(folder)
    told = {"base": checkpoint.origin(folder), "base_sha256": weights_of(loaded)}
    saved = checkpoint.save(tmp_path / "branch", branch, provenance=told)
    again = read_branch(saved, loaded).model
    assert again.config == branch.config
    steering = Steering(branch=branch, kind="mask", hints=hints(3))
    assert torch.equal(drawn(base, replace(steering, branch=again)), drawn(base, steering))
    names = checkpoint.read_tensors(saved / "weights.safetensors")
    assert all(name.startswith("branch.") for name in names)

    with torch.no_grad():
        next(loaded.model.parameters()).add_(1)
    other = checkpoint.load(checkpoint.save(tmp_path / "other", loaded.model))
    with pytest.raises(UserError, match=r"'branch' is made for base@[0-9a-f]{12}, and not for other@"):
        read_branch(saved, other)
    with pytest.raises(UserError, match="image-diffusion is not a control branch"):
        read_branch(folder, loaded)


def test_what_does_not_fit_is_refused(base, branch):
    steering = Steering(branch=branch, kind="mask", hints=hints(3))
    with pytest.raises(UserError, match="kind of hint"):
        drawn(base, replace(steering, kind="scribble"))
    with pytest.raises(UserError, match="hints of 4×4"):
        drawn(base, replace(steering, hints=hints(3)[..., :4, :4]))
    with pytest.raises(ValueError, match="3 hints for 2 pictures"):
        drawn(base, steering, count=2)
    with pytest.raises(UserError, match="no part of a run"):
        drawn(base, replace(steering, window=(0.5, 0.5)))
    with pytest.raises(UserError, match="scales of its own"):
        drawn(base, replace(steering, scale=(1.0, 1.0, 1.0)), guess=True)
    wider = replace(branch.config.branch, network=replace(base.config.network, dim=32))
    odd = PictureControl(ControlBranchConfig(branch=wider, kinds=KINDS))
    with pytest.raises(UserError, match="another network"):
        drawn(base, replace(steering, branch=odd))
    with pytest.raises(UserError, match="2 kinds"):
        ControlBranchConfig(branch=branch.config.branch, kinds=("mask",))
