"""The three designs: their sizes, what they look at, and that neighbours change nothing."""

import numpy as np
import pytest
import torch
from tests.camera.conftest import DESIGNS, small

from melies import checkpoint
from melies.camera.director import Director, DirectorConfig
from melies.camera.generate import draw_paths
from melies.diffusion.guidance.methods import guidance_of
from melies.errors import UserError

PUBLISHED = {"in-context": 26e6, "modulated": 39e6, "cross-attention": 40e6}


@pytest.mark.parametrize("design", DESIGNS)
def test_the_published_sizes_are_the_default(design):
    with torch.device("meta"):
        network = Director(DirectorConfig(design=design))
    num = sum(parameter.numel() for parameter in network.parameters())
    assert num == pytest.approx(PUBLISHED[design], rel=0.03)


def condition(model, frames, texts=("the camera trucks right",)):
    b = len(texts)
    track = torch.randn(b, frames, 3, generator=torch.Generator().manual_seed(1)).cumsum(1) * 0.01
    return model.condition_on(texts, track, valid=torch.ones(b, frames, dtype=torch.bool))


def evaluate(model, told, frames, padded=None):
    x = torch.randn(1, 9, frames, generator=torch.Generator().manual_seed(2))
    if padded:
        rest = torch.full((1, 9, padded - frames), 7.0)
        x = torch.cat([x, rest], -1)
    return model(x, torch.tensor([0.7]), told)


def test_what_is_padded_changes_nothing(director):
    told = condition(director, 20)
    alone = evaluate(director, told, 20)
    wider = {
        **told,
        "character": torch.cat([told["character"], torch.full((1, 3, 12), 5.0)], -1),
        "frames_valid": torch.arange(32)[None] < 20,
        "text": torch.cat([told["text"], torch.full((1, 3, 16), 9.0)], 1),
        "text_valid": torch.cat([told["text_valid"], torch.zeros(1, 3, dtype=torch.bool)], 1),
    }
    beside = evaluate(director, wider, 20, padded=32)[..., :20]
    assert torch.allclose(beside, alone, atol=1e-5)


@pytest.mark.parametrize("name", ["text", "character"])
def test_each_condition_counts_and_its_null_does_not(director, name):
    told = condition(director, 20)
    given = evaluate(director, told, 20)
    other = dict(told)
    other[name] = told[name] + 0.5
    assert not torch.allclose(evaluate(director, other, 20), given, atol=1e-4)
    absent = {f"present.{name}": torch.zeros(1, dtype=torch.bool)}
    without = evaluate(director, {**told, **absent}, 20)
    assert torch.allclose(evaluate(director, {**other, **absent}, 20), without, atol=1e-6)
    assert not torch.allclose(without, given, atol=1e-4)


def test_the_text_is_read_from_its_numbers_too(director):
    told = condition(director, 20)
    ids = director.text_encoder.tokenize(["the camera trucks right"])
    numbers = {name: value for name, value in told.items() if not name.startswith("text")}
    numbers |= {"text_ids": ids.ids, "text_valid": ids.valid}
    assert torch.allclose(evaluate(director, numbers, 20), evaluate(director, told, 20), atol=1e-5)


def test_rows_that_are_told_nothing_are_read_once(director):
    """Two with words, three nulls of which one is shorter: as each by itself."""
    told = condition(director, 24, texts=("the camera trucks right",) * 5)
    told["frames_valid"] = torch.arange(24) < torch.tensor([24, 24, 24, 16, 24])[:, None]
    present = torch.tensor([True, False, True, False, False])
    told |= {"present.text": present, "present.character": present}
    x, sigma = torch.randn(5, 9, 24, generator=torch.Generator().manual_seed(5)), torch.full((5,), 0.7)
    rows = []
    encoder = getattr(director.denoiser.network, "encoder", None)
    if encoder is not None:
        encoder[0].register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    together = director(x, sigma, told)
    assert rows in ([], [4])
    for i in range(5):
        alone = director(x[i : i + 1], sigma[:1], {name: value[i : i + 1] for name, value in told.items()})
        assert torch.allclose(together[i], alone[0], atol=1e-5)


def test_a_path_does_not_depend_on_its_neighbours(director):
    tracks = [np.cumsum(np.full((n, 3), 0.01), axis=0) for n in (12, 40, 23)]
    prompts = ["the camera trucks right", "the camera trucks left", "the camera"]
    together = draw_paths(director, prompts, tracks, seeds=[5, 6, 7], num_steps=3)
    assert [len(path) for path in together] == [12, 40, 23]
    alone = draw_paths(director, prompts[1:2], tracks[1:2], seeds=[6], num_steps=3)
    assert np.allclose(alone[0], together[1], atol=1e-3)
    for path in together:
        assert np.allclose(path[:, :3, :3] @ path[:, :3, :3].transpose(0, 2, 1), np.eye(3), atol=1e-6)
        assert (path[:, 3] == [0, 0, 0, 1]).all()


def test_a_path_begins_where_its_character_is(director):
    track = np.zeros((16, 3))
    here = draw_paths(director, ["the camera"], [track], num_steps=2)[0]
    there = draw_paths(director, ["the camera"], [track + np.array([3.0, 0.0, -2.0])], num_steps=2)[0]
    assert np.allclose(there[:, :3, 3] - here[:, :3, 3], [3, 0, -2])


@pytest.mark.parametrize("method", ["plus-plus", "projected", "zero-star", "rescaled"])
def test_every_way_of_guiding_acts(director, method):
    track = [np.zeros((16, 3))]
    plain = draw_paths(director, ["the camera trucks right"], track, scale=1.0, num_steps=3, sampler="ddim")
    guided = draw_paths(
        director,
        ["the camera trucks right"],
        track,
        guidance=guidance_of(method, 0.6 if method == "plus-plus" else 4.0),
        num_steps=3,
        sampler="ddim",
    )
    assert np.isfinite(guided[0]).all()
    assert not np.allclose(guided[0], plain[0])


def test_it_is_saved_and_read(director, tmp_path):
    checkpoint.save(tmp_path / "model", director)
    again = checkpoint.load(tmp_path / "model").model
    track = [np.zeros((9, 3))]
    there, back = (draw_paths(model, ["left"], track, num_steps=2)[0] for model in (director, again))
    assert (there == back).all()
    assert again.transforms == director.transforms


def test_bad_input_is_said(director):
    with pytest.raises(UserError, match="a path of 41 frames"):
        draw_paths(director, ["left"], [np.zeros((41, 3))])
    with pytest.raises(UserError, match="a path of 0 frames"):
        draw_paths(director, ["left"], [np.zeros((0, 3))])
    with pytest.raises(ValueError, match="1 prompts, 2 characters"):
        draw_paths(director, ["left"], [np.zeros((4, 3))] * 2)
    with pytest.raises(UserError, match="head_dim"):
        small("modulated", dim=30)
