"""`melies generate --control`: hints are followed, kept in the picture, drawn again, and looked at first."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from melies import checkpoint
from melies.images.control import PictureControl, new_branch, weights_of


def draw_hint(
    path: str, *, size: tuple[int, int] = (8, 8), ink: str | None = "white", paper: str = "black"
) -> str:
    picture = Image.new("RGB", size, paper)
    if ink:
        ImageDraw.Draw(picture).rectangle((1, 1, size[0] // 2, size[1] // 2), fill=ink)
    picture.save(path)
    return path


@pytest.fixture
def branch(tiny_model) -> Path:
    """A branch for the tiny model, stirred so that it acts, among the user's own models."""
    import os

    import torch

    loaded = checkpoint.load(tiny_model)
    model = new_branch(loaded.model, ("scribble", "mask", "clusters"), depth=1, hint_width=8)
    torch.manual_seed(0)
    with torch.no_grad():
        for part in (model.branch.join, model.branch.hint[-1], model.branch.kind):
            for parameter in part.parameters():
                parameter.normal_(std=0.5)
    folder = Path(os.environ["MELIES_MODELS"]) / "steers"
    told = {"base": checkpoint.origin(tiny_model), "base_sha256": weights_of(loaded)}
    return checkpoint.save(folder, model, provenance=told)


@pytest.fixture
def drawn(run, tiny_model):
    """`drawn("--control", …) → answer` of one cat."""

    def call(*words: str, named: tuple[str, ...] = ("--class", "cat")):
        done = run(
            *("generate", *named, "--count", "1", "--steps", "3", "--quiet", "--json"),
            *("--model", str(tiny_model), *words),
        )
        assert done.code == 0, done.err
        return done.json

    return call


def pixels(answer) -> np.ndarray:
    return np.asarray(Image.open(answer["pictures"][0])).astype(int)


def test_hints_are_followed_kept_and_drawn_again_byte_for_byte(run, drawn, branch):
    first, second = draw_hint("first.png"), draw_hint("second.png", ink="grey")
    plain, one = drawn(), drawn("--control", f"mask={first}")
    both = drawn(
        *("--control", f"mask={first}", "--control", f"scribble={second}", "--control-scale", "1", "0.5"),
        *("--control-model", "steers", str(branch), "--control-window", "0", "0.7"),
        *("--control-interval", "0.001", "50"),
    )
    guessed = drawn("--control", f"mask={first}", "--control-guess", named=())
    found = [pixels(answer) for answer in (plain, one, both, guessed)]
    assert all(not np.array_equal(a, b) for i, a in enumerate(found) for b in found[i + 1 :])
    assert np.array_equal(pixels(drawn("--control", f"mask={first}", "--control-scale", "0")), found[0])
    for answer in (one, both, guessed):
        picture = answer["pictures"][0]
        again = run("generate", "--from", picture, "--out", "again", "--quiet", "--json").json
        assert Path(again["pictures"][0]).read_bytes() == Path(picture).read_bytes()


def test_a_picture_is_drawn_again_only_with_the_same_hint_and_branch(run, drawn, branch):
    picture = drawn("--control", f"mask={draw_hint('hint.png')}")["pictures"][0]
    draw_hint("hint.png", ink="grey")
    assert (
        "--control 1 was given is no longer there as it was"
        in run("generate", "--from", picture, "--quiet").error
    )
    draw_hint("hint.png")
    loaded = checkpoint.load(branch)
    assert isinstance(loaded.model, PictureControl)
    loaded.model.branch.join[0].weight.data *= 2
    checkpoint.save(branch, loaded.model, provenance=loaded.provenance)
    assert (
        "the control branch 'steers' has other weights now"
        in run("generate", "--from", picture, "--quiet").error
    )


@pytest.mark.parametrize(
    ("kind", "hint", "note"),
    [
        ("scribble", {"ink": None}, "hint.png is empty"),
        ("scribble", {"ink": "red"}, "hint.png has colours, and scribble is"),
        ("mask", {"ink": "red"}, "hint.png has colours, and mask is"),
        ("scribble", {"paper": "white", "ink": "black"}, "hint.png is mostly white"),
        ("scribble", {"size": (16, 8)}, "hint.png is 16×8: its middle square is the hint"),
        ("clusters", {"ink": "red"}, None),
        ("mask", {"paper": "white", "ink": "black"}, None),
        ("scribble", {}, None),
    ],
    ids=str,
)
def test_an_odd_hint_is_told(drawn, branch, kind, hint, note):
    notes = drawn("--control", f"{kind}={draw_hint('hint.png', **hint)}")["notes"]
    assert [note in said for said in notes] == [True] if note else notes == []


def test_a_branch_of_another_base_is_refused_and_none_is_found_for_it(run, tiny_model, branch):
    import torch

    loaded = checkpoint.load(tiny_model)
    with torch.no_grad():
        next(loaded.model.parameters()).add_(1)
    checkpoint.save(Path("other"), loaded.model)
    words = (
        "generate",
        "--class",
        "cat",
        "--model",
        "other",
        "--quiet",
        "--control",
        f"mask={draw_hint('h.png')}",
    )
    refused = run(*words, "--control-model", "steers")
    assert refused.code == 2
    assert "'steers' is made for pets/checkpoint-64@" in refused.error
    assert "and not for other@" in refused.error
    assert "no control branch is here that is made for other@" in run(*words).error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--control", "mask"], "the hint 'mask' names no picture; add --control mask=PICTURE"),
        (["--control", "musk=h.png"], "unknown kind of condition 'musk'; did you mean 'mask'?"),
        (["--control", "canny=h.png"], "unknown kind of hint for this control branch 'canny'"),
        (["--control", "mask=none.png"], "none.png: cannot be read"),
        (["--control", "mask=h.png", "--control-scale", "1", "2"], "control_scale: 2 for 1 hints"),
        (["--control", "mask=h.png", "--control-scale", "-1"], "control_scale = -1"),
        (["--control", "mask=h.png", "--control-window", "1", "0"], "1 to 0 is no part of a run"),
        (["--control", "mask=h.png", "--control-interval", "2", "1"], "(2, 1] is no interval"),
        (["--control", "mask=h.png", "--control-model", "emoji"], "is not a control branch"),
        (["--control-guess"], "there is no hint to keep to; add --control KIND=PICTURE"),
        (["--control-scale", "0.5"], "there is no hint to keep to"),
    ],
)
def test_control_that_cannot_be(run, tiny_model, branch, words, said):
    draw_hint("h.png")
    done = run("generate", "--class", "cat", "--model", str(tiny_model), "--steps", "2", "--quiet", *words)
    assert done.code == 2
    assert said in done.error
