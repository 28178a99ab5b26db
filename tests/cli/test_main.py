"""Verbs are found, mistakes are one line with exit code 2, and standard output holds one answer."""

import errno
import json
import os
import re
import subprocess
import sys

import pytest

from melies.cli.main import find_verb
from melies.cli.verbs import EXAMPLES, VERBS
from melies.errors import UserError
from melies.optional import import_from

FLAGS = {
    "generate": "allow-download batch class classifier control control-guess control-interval control-model"
    " control-scale control-window count eta from grid guidance init interval json mask model negative out"
    " quiet sampler scale schedule seed steps strength weak",
    "recipes": "json quiet",
    "reconstruct": "batch class json out quiet",
    "interpolate": "batch class json mix model out quiet steps",
    "ladder": "budget count data features json out quiet resume rungs scale seed size steps weights",
    "claims": "json out quiet records",
    "control extract": "every json out quiet seed weights",
    "control evaluate": "allow-download branch control-scales count crossed data features json judge model"
    " out quiet scale seed steps",
    "guidance schedule": "as-scale as-written clock grid json omega out quiet remove sigma-max"
    " sigma-min steps",
    "guidance scales": "allow-download batch beside classes classifier count data features grid json judge"
    " model out quiet sampler scales seed shown steps weights",
    "guidance neighbours": "allow-download batch beside classes classifier count data features grid json"
    " judge model nearest out quiet sampler scales seed shown steps weights",
    "guidance check": "json out quiet",
    "data prepare": "from json out quiet",
    "data show": "json quiet",
    "models": "json quiet",
    "models show": "json quiet",
    "models add": "json like name quiet",
    "doctor": "json quiet",
}
"""The options of every verb. People's scripts use them: removing one is a breaking change."""


def flags_of(help_text: str) -> str:
    return " ".join(sorted(re.findall(r"^\s+--([a-z][\w.-]*)", help_text, re.MULTILINE)))


@pytest.mark.parametrize("verb", FLAGS)
def test_options_are_those_that_were_promised(run, verb):
    done = run(*verb.split(), "--help")
    assert done.code == 0
    assert flags_of(done.out) == FLAGS[verb]
    assert f"usage: melies {verb} " in done.out
    assert "None" not in done.out  # what is nothing is left out


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_names_every_verb(run, word):
    done = run(word)
    assert (done.code, done.err) == (0, "")
    for name in VERBS:
        assert f"  {name} " in done.out
    assert all(example in done.out for example, _ in EXAMPLES)


def test_examples_of_the_help_begin_with_real_verbs():
    for example, _ in EXAMPLES:
        name, *rest = example.removeprefix("melies ").split()
        find_verb([name, *rest])


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_its_function(name):
    if name == "evaluate":
        pytest.importorskip("melies.images.evaluate")
    assert callable(import_from(VERBS[name].call))


@pytest.mark.parametrize(
    ("argv", "found"),
    [
        (["generate", "x"], ("generate", ["x"])),
        (["models"], ("models", [])),
        (["models", "--json"], ("models", ["--json"])),
        (["models", "add", "f"], ("models add", ["f"])),
        (["data", "show", "show"], ("data show", ["show"])),
    ],
)
def test_verbs_of_one_word_and_of_two(argv, found):
    assert find_verb(argv) == found


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["gennnerate", "a bear"], "unknown verb 'gennnerate'; did you mean 'generate'?"),
        (["train"], "no recipe given; Valid: emoji"),
        (["add", "f"], "unknown verb 'add'; did you mean 'models add'?"),
        (["data"], "'data' needs a second word; Valid: prepare, show"),
        (["data", "preppare"], "unknown verb 'data preppare'; did you mean 'data prepare'?"),
        (["models", "shw", "emoji"], "did you mean 'models show'?"),
        ([], "no verb given; Valid: generate"),
        (["zzzz"], "unknown verb 'zzzz'; Valid: generate"),
        (["generate", "--quiet"], "nothing to draw; give a prompt"),
        (["generate", ""], "a prompt is empty"),
        (["generate", "a bear", "  "], "a prompt is empty"),
        (["generate", "a bear", "--scale", "nan"], "scale = nan is not in [0, 1000]"),
        (["generate", "a bear", "--scale", "inf"], "scale = inf is not in"),
        (["generate", "a bear", "--steps", "0"], "steps = 0 is not in [1, "),
        (["generate", "a bear", "--count", "0"], "count = 0 is not in [1, "),
        (["generate", "a bear", "--count", "x"], "--count: 'x' is not a whole number"),
        (["generate", "a bear", "--count", "1.5"], "--count: '1.5' is not a whole number"),
        (["generate", "a bear", "--scale", "much"], "--scale: 'much' is not a number"),
        (["generate", "a bear", "--count"], "--count needs a value"),
        (["generate", "a bear", "--batch", "-1"], "batch = -1 is not in"),
        (["generate", "a bear", "--strength", "0"], "strength = 0"),
        (["generate", "a bear", "--sampler", "huen"], "unknown sampler 'huen'; did you mean 'heun'?"),
        (["generate", "a bear", "--grid", "caras"], "unknown grid 'caras'; did you mean 'karras'?"),
        (["generate", "a bear", "--eta", "0.5"], "eta belongs to the sampler 'ddim'"),
        (["generate", "a bear", "--mask", "m.png"], "a mask needs a picture to keep the rest of; add --init"),
        (["generate", "a bear", "--smpler", "heun"], "unknown option '--smpler'; did you mean --sampler?"),
        (["generate", "a bear", "--zzz=3"], "unknown option '--zzz'; see `melies generate --help`"),
        (["generate", "--from", "not-here.png"], "not-here.png: no such picture"),
        (["generate", "--from", "a.png", "a bear"], "a prompt would change it"),
        (["generate", "--from", "a.png", "--seed", "3"], "--seed would change it"),
        (["train", "emojy"], "unknown recipe 'emojy'; did you mean 'emoji'?"),
        (["train", "--data", "x"], "the recipe comes first"),
        (["recipes", "emoji-codek"], "unknown recipe 'emoji-codek'; did you mean 'emoji-codec'?"),
        (["ladder", "--rungs", "vea"], "unknown rung 'vea'; did you mean 'vae'?"),
        (["ladder", "--data", "digit"], "digit: there is no such file or folder; did you mean 'digits'?"),
        (["ladder", "--budget", "much"], "--budget: 'much' is not a number"),
        (["ladder", "--budget", "0"], "budget = 0.0 is not in (0, "),
        (["ladder", "--count", "1.5"], "--count: '1.5' is not a whole number"),
        (["data", "prepare"], "SET is missing; see `melies data prepare --help`"),
        (["data", "prepare", "cifar"], "unknown data set 'cifar'; did you mean 'cifar10'?"),
        (["data", "show", "not-here"], "not-here: there is no such file or folder"),
        (["models", "show", "not-here"], "there is no model 'not-here'; "),
        (["models", "add", "not-here.zip"], "not-here.zip: there is no such file or folder"),
        (["models", "extra"], "unknown verb 'models extra'"),
        (["recipes", "emoji", "extra"], "unknown argument 'extra'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(run, argv, said):
    done = run(*argv)
    assert done.code == 2
    assert done.out == ""
    assert done.error.startswith("melies: ")
    assert said in done.error
    with_json = run(*argv, "--json")
    assert with_json.code == 2
    if argv:  # `melies --json` is a verb that does not exist
        assert with_json.error == done.error
        assert with_json.json["error"] == done.error.removeprefix("melies: ")


def test_unknown_model_is_named_before_anything_is_drawn(run, tiny_model):
    assert run("models", "add", str(tiny_model)).code == 0
    done = run("generate", "--class", "cat", "--model", "pest", "--quiet")
    assert done.code == 2
    assert done.error.startswith("melies: there is no model 'pest'; did you mean 'pets'? Valid: ")
    assert not os.path.exists("out")  # noqa: PTH110


def fail_with(monkeypatch, error: BaseException):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("melies.images.pictures.generate_files", fail)


ARGV = ("generate", "a bear", "--quiet")


def wrapped(error: Exception) -> Exception:
    try:
        try:
            raise error
        except Exception as inner:
            raise RuntimeError("the writer failed") from inner
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "out/a.png"), 2, "out/a.png: the disk is full"),
        (
            RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
            2,
            "the disk is full",
        ),
        (wrapped(OSError(errno.ENOSPC, "No space left on device")), 2, "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), 2, "out: permission denied"),
        (MemoryError(), 2, "not enough memory; ask for fewer"),
        (FloatingPointError("the loss is nan after 128 samples"), 1, "the loss is nan after 128 samples"),
        (UserError("wrong\nin two lines", where="here"), 2, "melies: here: wrong in two lines"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
    ],
)
def test_what_can_happen_to_anybody_is_one_line(run, monkeypatch, error, code, said):
    fail_with(monkeypatch, error)
    done = run(*ARGV)
    assert done.code == code
    assert said in done.error
    with_json = run(*ARGV, "--json")
    assert (with_json.code, with_json.err) == (code, done.err)
    assert with_json.json["error"] in done.error


def test_memory_of_a_gpu(run, monkeypatch):
    import torch

    fail_with(monkeypatch, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert "not enough memory" in run(*ARGV).error


def test_a_defect_keeps_its_traceback(run, monkeypatch, capsys):
    fail_with(monkeypatch, ZeroDivisionError("division by zero"))
    with pytest.raises(ZeroDivisionError):
        run(*ARGV, "--json")
    assert json.loads(capsys.readouterr().out)["error"] == "ZeroDivisionError: division by zero"


def test_debug_shows_where_a_mistake_was_found(run, monkeypatch):
    monkeypatch.setenv("MELIES_DEBUG", "1")
    done = run("generate", "")
    assert done.code == 2
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1].startswith("melies: a prompt is empty")


def test_with_json_whatever_a_library_prints_goes_to_the_error_stream(run, monkeypatch):
    from melies.images.pictures import GenerateReport

    def chatty(*_args, **_kwargs):
        print("hello from a library")
        return GenerateReport(pictures=(), grid=None, seconds=0.5, evaluations=8, calls=4)

    monkeypatch.setattr("melies.images.pictures.generate_files", chatty)
    done = run(*ARGV, "--json")
    told = {"seconds": 0.5, "evaluations": 8, "calls": 4, "notes": []}
    assert done.json == {"pictures": [], "grid": None, **told}
    assert "hello from a library" in done.err


def command(*argv: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "melies", *argv],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def test_as_a_process():
    done = command("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"melies \d+\.\d+\.\d+\S*\n", done.stdout)
    done = command("generate", "a bear", "--steps", "none", "--json")
    assert done.returncode == 2
    assert done.stderr == "melies: --steps: 'none' is not a whole number; see `melies generate --help`\n"
    assert json.loads(done.stdout)["what"] == "--steps: 'none' is not a whole number"


def test_a_reader_that_leaves_early_is_no_error():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "melies", "recipes"],
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.stderr == b""
    assert done.returncode == 141


@pytest.mark.parametrize("wanted", [True, False])
def test_colours_on_a_terminal_only_and_never_with_no_color(run, monkeypatch, wanted):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    if not wanted:
        monkeypatch.setenv("NO_COLOR", "1")
    assert ("\x1b[" in run("generate", "--help").out) == wanted
    assert ("\x1b[" in run("recipes").out) == wanted
    assert run("generate", "a bear", "--smpler", "x").error.endswith("did you mean --sampler?")


def test_a_terminal_of_another_encoding_shows_what_it_can():
    done = command(
        "generate", "--help", env={**os.environ, "PYTHONIOENCODING": "latin-1"}, encoding="latin-1"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--sampler NAME" in done.stdout
