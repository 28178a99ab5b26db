"""Fields of a recipe are options; a run gets what was asked, and resumes; the table of recipes is true."""

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from melies import checkpoint
from melies.cli.read import read_arguments
from melies.cli.train import Train
from melies.optional import import_from
from melies.recipes import RECIPES, Recipe, recipe_page

TOY = '''
"""A toy, to see what reaches a recipe.

    melies train toy

It takes no time.
"""

from dataclasses import dataclass, field
from types import SimpleNamespace

from melies.config import check_range

calls = []


@dataclass(frozen=True, kw_only=True)
class Inner:
    """The run."""

    batch_size: int = 8
    """Samples per step."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Averaging."""


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """The toy."""

    width: int = 3
    """Channels."""
    flip: bool = True
    """Whether to mirror."""
    training: Inner = field(default_factory=lambda: Inner(batch_size=16))
    """The run."""

    def __post_init__(self):
        """Check."""
        check_range("width", self.width, low=1)


CONFIG = ToyConfig(width=5)


def run(config, job):
    """Remember what was asked."""
    job.say("said by the recipe")
    calls.append((config, job.data, job.out, job.start_from, job.resume))
    if config.width == 13:
        raise KeyboardInterrupt
    return SimpleNamespace(samples_seen=640, seconds=90.0)
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A recipe called `toy`, and its module."""
    (tmp_path / "toy_recipe.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(RECIPES, "toy", Recipe("toy_recipe:CONFIG", "a toy", "nothing", "no time"))
    yield import_from("toy_recipe:calls")
    sys.modules.pop("toy_recipe")


def test_fields_and_paths_reach_the_recipe(run, toy):
    done = run(
        *(
            "train",
            "toy",
            "--width",
            "7",
            "--no-flip",
            "--training.batch-size",
            "4",
            "--training.betas",
            "0.5",
            "0.6",
        ),
        *("--data", "my/pictures", "--from", "emoji", "--out", "runs/mine", "--resume"),
    )
    assert done.code == 0
    assert done.out == "640 samples seen in 1.5 min; the model is runs/mine\n"
    assert done.err.splitlines() == ["training toy into runs/mine", "said by the recipe"]
    config, data, out, start_from, resume = toy[0]
    assert (config.width, config.flip) == (7, False)
    assert (config.training.batch_size, config.training.betas) == (4, (0.5, 0.6))
    assert (data, out, start_from, resume) == (Path("my/pictures"), Path("runs/mine"), "emoji", True)


def test_what_is_not_asked_is_as_the_recipe_has_it(run, toy):
    done = run("train", "toy", "--json", "--quiet")
    assert done.json == {
        "recipe": "toy",
        "out": "runs/toy",
        "checkpoint": None,
        "samples_seen": 640,
        "seconds": 90.0,
    }
    assert done.err == ""
    config, data, out, start_from, resume = toy[0]
    assert (config.width, config.flip, config.training.batch_size) == (5, True, 16)
    assert (data, out, start_from, resume) == (None, Path("runs/toy"), None, False)


def test_help_is_the_page_of_the_recipe_with_its_fields(run, toy):
    done = run("train", "toy", "--help")
    assert "A toy, to see what reaches a recipe." in done.out
    assert "    melies train toy\n" in done.out
    for option in (
        "--width INT",
        "--no-flip",
        "--training.betas FLOAT FLOAT",
        "--data",
        "--from",
        "--out",
        "--resume",
    ):
        assert f"  {option}" in done.out
    assert "(default: 5)" in done.out


def test_help_of_the_verb_lists_the_recipes(run, toy):
    done = run("train", "--help")
    assert done.code == 0
    assert "usage: melies train RECIPE" in done.out
    assert all(name in done.out for name in RECIPES)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--widht", "3"], "unknown option '--widht'; did you mean --width?"),
        (["--training.batchsize", "3"], "did you mean --training.batch-size?"),
        (["--width", "0"], "width = 0 is not in [1, inf)"),
        (["--width", "wide"], "--width: 'wide' is not a whole number"),
        (["--training.betas", "0.9"], "--training.betas needs 2 values"),
    ],
)
def test_wrong_fields(run, toy, argv, said):
    done = run("train", "toy", *argv)
    assert done.code == 2
    assert said in done.error
    assert toy == []


def test_a_folder_that_holds_a_run_is_refused_before_anything_is_read(run, toy, tiny_model):
    done = run("train", "toy", "--out", str(tiny_model), "--quiet")
    assert done.code == 2
    assert "the folder already holds a run; add --resume" in done.error
    assert toy == []
    assert run("train", "toy", "--out", str(tiny_model), "--resume").code == 0


def test_ctrl_c_says_how_to_go_on(run, toy):
    done = run("train", "toy", "--width", "13", "--quiet")
    assert done.code == 130
    assert "the same command with --resume goes on" in done.error


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_configured_from_the_command(run, name):
    recipe = RECIPES[name]
    config = import_from(recipe.config)
    parameters = inspect.signature(import_from(recipe.run)).parameters
    assert list(parameters) == ["config", "job"]
    done = run("train", name, "--help")
    assert done.code == 0
    assert "--training.num-samples INT" in done.out
    assert f"(default: {config.training.num_samples})" in done.out
    assert f"melies train {name}" in recipe_page(name)


@pytest.mark.parametrize("name", RECIPES)
def test_the_page_of_a_recipe_names_commands_that_can_be_pasted_and_the_time(name):
    page = recipe_page(name)
    assert re.search(r"\b(core|GPU)", page), "on what?"
    assert re.search(r"\b(minute|hour)s?\b", page), "how long?"
    commands = [
        line.split("#")[0].split() for line in page.splitlines() if line.startswith("    melies train ")
    ]
    assert commands
    for _, _, recipe, *words in commands:
        config = import_from(RECIPES[recipe].config)
        read = read_arguments(
            Train[type(config)], words, verb="train", about="", default=Train(config=config)
        )
        # what stands for one's own pictures is no file that `melies data prepare` puts anywhere
        assert read.data is None or str(read.data).isupper(), words


def test_a_real_recipe_trains_resumes_and_is_shown(run, pictures):
    argv = (
        *(
            "train",
            "emoji-codec",
            "--data",
            str(pictures),
            "--size",
            "16",
            "--training.batch-size",
            "4",
            "--quiet",
        ),
        *("--training.warmup", "0", "--training.preview-every", "0", "--codec.widths", "8", "8"),
    )
    done = run(*argv, "--training.num-samples", "8", "--json")
    assert done.code == 0, done.err
    assert done.json["samples_seen"] == 8
    assert done.json["checkpoint"] == "runs/emoji-codec/checkpoint-8"
    assert "the folder already holds a run; add --resume" in run(*argv).error
    resumed = run(*argv, "--training.num-samples", "16", "--resume", "--json")
    assert resumed.json["samples_seen"] == 16
    assert checkpoint.load(Path("runs/emoji-codec")).kind == "image-codec"
    assert run("models", "add", "runs/emoji-codec", "--quiet").code == 0
    assert run("models", "--json").json["models"][-1]["kind"] == "image-codec"


@pytest.mark.slow
def test_of_two_processes_under_torchrun_one_speaks_and_writes(pictures, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    arguments = ["--heads", "subcategory", "--size", "16", "--widths", "8", "--training.num-samples", "64"]
    done = subprocess.run(
        [*command, "-m", "melies", "train", "emoji-judge", "--data", str(pictures), "--json", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["samples_seen"] == 64  # one object
    for said in ("training emoji-judge into runs", "training pictures, "):
        assert done.stderr.count(said) == 1, done.stderr
    assert done.stderr.count("training: 64 of 64 samples") <= 1
    run = Path("runs/emoji-judge")
    assert sorted(path.name for path in run.iterdir()) == ["checkpoint-64", "log.jsonl", "record.json"]


def test_a_process_beside_the_main_one_says_nothing(run, toy, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    for how in ((), ("--json",)):
        done = run("train", "toy", *how)
        assert (done.code, done.out, done.err) == (0, "", "")


def test_recipes_are_listed_and_shown(run):
    done = run("recipes")
    assert done.code == 0
    for name, recipe in RECIPES.items():
        assert name in done.out
        assert recipe.what in done.out
    assert [entry["name"] for entry in run("recipes", "--json").json["recipes"]] == list(RECIPES)
    shown = run("recipes", "emoji-codec")
    assert recipe_page("emoji-codec") in shown.out
    assert json.loads(run("recipes", "emoji-codec", "--json").out)["page"] == recipe_page("emoji-codec")
