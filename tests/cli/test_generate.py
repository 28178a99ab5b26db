"""Arguments reach the drawing as settings; pictures, grid and redrawing work with a real, tiny model."""

import json
import shutil
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from melies import checkpoint
from melies.cli.generate import SETTINGS, Generate
from melies.images.settings import DrawSettings


@pytest.fixture
def asked(monkeypatch):
    """What the drawing was asked for, in place of the drawing."""
    from melies.images.pictures import GenerateReport

    calls = []

    def generate_files(settings, out, *, allow_download, progress, say):
        calls.append((settings, out, progress, allow_download))
        pictures = tuple(out / f"{i}.png" for i in range(settings.total))
        return GenerateReport(
            pictures=pictures,
            grid=out / "grid.png",
            seconds=1.25,
            evaluations=1600,
            calls=50,
            notes=("not read: 'x'",),
        )

    monkeypatch.setattr("melies.images.pictures.generate_files", generate_files)
    return calls


def test_every_setting_is_an_option_with_the_same_default():
    plain, drawn = Generate(), DrawSettings(prompts=("x",))
    for name in SETTINGS:
        if name != "prompts":
            assert getattr(plain, name) == getattr(drawn, name), name
    others = {"source", "out", "allow_download", "output"}
    assert {field.name for field in fields(Generate)} == {*SETTINGS, *others}


def test_arguments_become_settings(run, asked):
    done = run(
        *("generate", "a mechanic, dark skin tone", "a polar bear", "--count", "8", "--scale", "4.5"),
        *("--negative", "blurred", "--steps", "30", "--sampler", "ddim", "--eta", "0.5", "--grid", "linear"),
        *("--schedule", "pcs:2", "--guidance", "rescaled:0.5", "--interval", "0.1", "4"),
        *("--seed", "7", "--init", "a.png", "--strength", "0.3", "--mask", "m.png", "--model", "mine"),
        *("--batch", "4", "--class", "x", "y", "--out", "there"),
    )
    assert done.code == 0
    settings, out, _, allow_download = asked[0]
    assert settings == DrawSettings(
        prompts=("a mechanic, dark skin tone", "a polar bear"),
        classes=("x", "y"),
        negative="blurred",
        count=8,
        scale=4.5,
        schedule="pcs:2",
        guidance="rescaled:0.5",
        interval=(0.1, 4.0),
        steps=30,
        sampler="ddim",
        grid="linear",
        eta=0.5,
        seed=7,
        init="a.png",
        strength=0.3,
        mask="m.png",
        model="mine",
        batch=4,
    )
    assert out == Path("there")
    assert allow_download is False
    run("generate", "a bear", "--allow-download")
    assert asked[-1][3] is True


def test_options_may_stand_before_the_prompts_and_prompts_may_look_like_options(run, asked):
    assert run("generate", "--count", "2", "a bear", "--", "--json", "-x").code == 0
    assert asked[0][0].prompts == ("a bear", "--json", "-x")


def test_what_is_said(run, asked, monkeypatch):
    from melies.progress import bar, lines, silent

    done = run("generate", "a bear")
    assert done.out == (
        "4 pictures in out, all of them on out/grid.png"
        " (1.2 s, 1,600 evaluations of the network in 50 calls)\n"
    )
    assert done.err.splitlines() == ["loading the model emoji", "note: not read: 'x'"]
    assert asked[-1][2] is lines  # a log
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    run("generate", "a bear")
    assert asked[-1][2] is bar
    quiet = run("generate", "a bear", "--quiet")
    assert (quiet.out, quiet.err) == ("", "")
    assert asked[-1][2] is silent
    assert run("generate", "a bear", "--json").json == {
        "pictures": ["out/0.png", "out/1.png", "out/2.png", "out/3.png"],
        "grid": "out/grid.png",
        "seconds": 1.25,
        "evaluations": 1600,
        "calls": 50,
        "notes": ["not read: 'x'"],
    }


def test_a_model_draws_and_draws_again(run, tiny_model):
    model = ("--model", str(tiny_model), "--steps", "2", "--quiet", "--json")
    drawn = run("generate", "--class", "cat", "dog", "--count", "2", "--seed", "5", *model).json
    assert len(drawn["pictures"]) == 4
    with Image.open(drawn["grid"]) as grid, Image.open(drawn["pictures"][0]) as picture:
        assert picture.size == (8, 8)
        assert grid.width > 2 * 8
    for path in map(Path, drawn["pictures"]):
        assert json.loads(path.with_suffix(".json").read_text())["settings"]["classes"] == ["cat", "dog"]
    chosen = Path(drawn["pictures"][3])
    again = run("generate", "--from", str(chosen), "--out", "again", "--quiet", "--json").json
    assert Path(again["pictures"][0]).read_bytes() == chosen.read_bytes()
    assert Path(again["pictures"][0]).parent == Path("again")


@pytest.mark.parametrize(
    ("options", "rows", "calls"),
    [
        ([], 4, 4),  # two steps, two branches, of which a small batch makes one call
        (["--scale", "1"], 2, 4),
        (["--interval", "0.001", "1"], 3, 4),  # of the two levels the lower one alone is guided
        (["--sampler", "heun"], 6, 6),  # the step to 0 has no corrector
    ],
)
def test_what_drawing_cost_is_counted(run, tiny_model, options, rows, calls):
    ask = ("generate", "--class", "cat", "--model", str(tiny_model), "--steps", "2", "--count", "3")
    done = run(*ask, "--batch", "2", "--quiet", "--json", *options).json
    assert (done["evaluations"], done["calls"]) == (3 * rows, calls)  # in batches of 2 and 1
    beside = json.loads(Path(done["pictures"][0]).with_suffix(".json").read_text())
    assert beside["evaluations"] == rows
    again = run("generate", "--from", done["pictures"][0], "--out", "again", "--quiet", "--json").json
    assert (again["evaluations"], again["calls"]) == (2 * rows, calls // 2)  # its batch is drawn again


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["a bear"], "this model does not read text"),
        (["--class", "cta"], "unknown class 'cta'; did you mean 'cat'?"),
        (["--class", "cat", "--init", "not-here.png"], "not-here.png: cannot be read"),
        (["--class", "cat", "--out", "taken/below"], "taken"),
    ],
)
def test_what_a_model_cannot_do(run, tiny_model, argv, said):
    Path("taken").write_text("a file")
    done = run("generate", *argv, "--model", str(tiny_model), "--steps", "1", "--count", "1", "--quiet")
    assert done.code == 2
    assert said in done.error


@pytest.mark.parametrize("name", ["notes.txt", "other.png"])
def test_a_picture_of_another_origin_is_not_drawn_again(run, name):
    Image.new("RGB", (4, 4)).save("other.png")
    Path("notes.txt").write_text("words")
    done = run("generate", "--from", name)
    assert done.code == 2
    assert name in done.error


def test_a_schedule_changes_the_picture_and_is_kept_in_it(run, tiny_model):
    drawn = {}
    for name in ("static", "linear"):
        words = ("--class", "cat", "--count", "1", "--steps", "4", "--scale", "6", "--schedule", name)
        done = run("generate", *words, "--model", str(tiny_model), "--quiet", "--json").json
        (path,) = done["pictures"]
        drawn[name] = Image.open(path).tobytes()
        assert json.loads(Path(path).with_suffix(".json").read_text())["settings"]["schedule"] == name
        again = run("generate", "--from", path, "--out", "again", "--quiet", "--json").json["pictures"][0]
        assert Image.open(again).tobytes() == drawn[name]
    assert drawn["static"] != drawn["linear"]
    words = ("--class", "cat", "--scale", "0.5", "--schedule", "linear", "--model", str(tiny_model))
    done = run("generate", *words, "--quiet")
    assert "'linear' starts from scale 1 and cannot have the mean 0.5" in done.error
    assert "did you mean 'linear'?" in run("generate", "--class", "cat", "--schedule", "liner").error


def test_ways_of_guiding_by_name(run, tiny_model):
    model = (
        "--class",
        "cat",
        "--count",
        "1",
        "--steps",
        "4",
        "--model",
        str(tiny_model),
        "--quiet",
        "--json",
    )

    def drawn(*words):
        done = run("generate", *words, *model)
        assert done.code == 0, done.error
        (path,) = done.json["pictures"]
        again = run("generate", "--from", path, "--out", "again", "--quiet", "--json").json["pictures"][0]
        assert Path(again).read_bytes() == Path(path).read_bytes()
        return np.asarray(Image.open(path)).astype(int)

    def far(a, b):
        return abs(a - b).max()

    plain = drawn("--scale", "6")
    assert far(drawn("--scale", "6", "--interval", "0", "90"), plain) <= 1
    for words in (("--guidance", "rescaled"), ("--guidance", "perturbed:2"), ("--interval", "0.1", "1")):
        assert far(drawn("--scale", "6", *words), plain) > 1
    half = ("--guidance", "plus-plus", "--scale", "0.5", "--sampler", "euler")
    assert far(drawn(*half), drawn(*half, "--schedule", "invlinear")) > 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--guidance", "projecte"], "unknown guidance 'projecte'; did you mean 'projected'?"),
        (["--guidance", "plain:2"], "the guidance 'plain' takes no parameter"),
        (["--guidance", "frequency"], "the guidance 'frequency' needs a parameter; give frequency:NUMBER"),
        (["--guidance", "rescaled:x"], "guidance rescaled:x: 'x' is not a number"),
        (["--guidance", "zero-star:1.5"], "whole steps, not 1.5"),
        (["--guidance", "zero-star"], "ZeroStar does not fit the sampler 'dpmpp'; it fits euler, ddim"),
        (["--guidance", "signed"], "needs something to avoid; add --negative"),
        (["--guidance", "autoguidance"], "'autoguidance' needs a weaker model; add --weak"),
        (["--weak", "emoji"], "a weaker model has no part in the guidance 'plain'; add --guidance autogui"),
        (["--guidance", "autoguidance", "--weak", "none"], "there is no model 'none'"),
        (["--guidance", "classifier"], "'classifier' needs a classifier of noisy pictures; add --classifier"),
        (["--classifier", "x"], "has no part in the guidance 'plain'; add --guidance classifier"),
        (["--guidance", "classifier", "--classifier", "none"], "there is no model 'none'"),
        (
            ["--guidance", "classifier", "--classifier", "digits-judge"],
            "digits-judge: image-classifier is not a classifier of noisy pictures",
        ),
        (
            ["--guidance", "classifier-mean-shift", "--classifier", "digits-judge"],
            "image-classifier is not a classifier of noisy pictures",
        ),
        (["--guidance", "plus-plus", "--sampler", "ddim"], "CFG++ interpolates"),
        (["--guidance", "plus-plus", "--interval", "0", "1"], "CFG++ has no scale at which it is off"),
        (["--interval", "3", "1"], "(3, 1] is no interval of noise levels"),
    ],
)
def test_guidance_that_cannot_be(run, tiny_model, words, said):
    done = run("generate", "--class", "cat", "--model", str(tiny_model), "--steps", "2", "--quiet", *words)
    assert done.code == 2
    assert said in done.error


def test_autoguidance_by_another_checkpoint(run, tiny_model):
    """Beyond the model, away from a weaker one; it is drawn again only with the same weaker one."""
    weaker = Path("weaker")
    loaded = checkpoint.load(tiny_model)
    for parameter in loaded.model.parameters():
        parameter.data *= 0.9
    checkpoint.save(weaker, loaded.model, ema=loaded.model.state_dict(), provenance={})
    words = ("--class", "cat", "--count", "1", "--steps", "4", "--quiet", "--json", "--model")

    def drawn(*given):
        done = run("generate", *words, *given)
        assert done.code == 0, done.error
        return done.json["pictures"][0]

    auto = ("--guidance", "autoguidance", "--weak", str(weaker))
    pixels = [
        np.asarray(Image.open(drawn(*given))).astype(int)
        for given in (
            (str(tiny_model), "--scale", "1"),
            (str(weaker), "--scale", "1"),
            (str(tiny_model), *auto, "--scale", "1"),
            (str(tiny_model), *auto, "--scale", "0"),
        )
    ]
    assert np.array_equal(pixels[0], pixels[2])
    assert np.array_equal(pixels[1], pixels[3])
    picture = drawn(str(tiny_model), *auto, "--scale", "3")
    again = run("generate", "--from", picture, "--out", "again", "--quiet", "--json").json["pictures"][0]
    assert Path(again).read_bytes() == Path(picture).read_bytes()
    shutil.rmtree(weaker)
    shutil.copytree(tiny_model / "checkpoint-64", weaker)
    assert "'weaker' has other weights now" in run("generate", "--from", picture, "--quiet").error


def test_classifier_guidance_is_kept_in_the_picture(run, tiny_model):
    """Towards the class by a classifier's gradient; it is drawn again only with the same classifier."""
    import torch

    from melies.images.noisy_classifier import NoisyClassifier, NoisyClassifierConfig
    from melies.nn.unet import UNetConfig

    network = UNetConfig(channels=3, size=8, widths=(8, 16), blocks=1, attention=(), head_dim=16, dim=16)
    model = NoisyClassifier(NoisyClassifierConfig(network=network, classes=("dog", "cat")))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    noisy = checkpoint.save(Path("noisy"), model)
    words = ("generate", "--class", "cat", "--count", "1", "--steps", "4", "--quiet", "--json")
    words += ("--model", str(tiny_model), "--guidance")

    def drawn(*given):
        done = run(*words, *given, "--classifier", str(noisy))
        assert done.code == 0, done.error
        return done.json["pictures"][0]

    off, on = drawn("classifier", "--scale", "0"), drawn("classifier", "--scale", "9")
    assert Path(off).read_bytes() != Path(on).read_bytes()
    assert not np.array_equal(np.asarray(Image.open(off)), np.asarray(Image.open(on)))
    shifted = drawn("classifier-mean-shift:1", "--scale", "9", "--sampler", "ddpm", "--interval", "0.1", "9")
    for picture in (on, shifted):
        again = run("generate", "--from", picture, "--out", "again", "--quiet", "--json")
        assert Path(again.json["pictures"][0]).read_bytes() == Path(picture).read_bytes()
    model.out.weight.data *= 2
    checkpoint.save(Path("noisy"), model)
    assert "the classifier 'noisy' has other weights now" in run("generate", "--from", on, "--quiet").error
    done = run(*words, "classifier-mean-shift", "--classifier", "noisy")
    assert "ClassifierGuidance does not fit the sampler 'dpmpp'; it fits ddpm" in done.error
    loose = [word for word in words if word not in ("--class", "cat")]
    assert (
        "needs a class to guide to; add --class" in run(*loose, "classifier", "--classifier", "noisy").error
    )
