"""`melies guidance trace`: what it says, what it writes, what it refuses."""

import json
from pathlib import Path

import pytest
from PIL import Image

from melies.images.trace import TracedStep


def test_a_trace_of_a_tiny_model(run, tiny_model):
    ask = ("guidance", "trace", "--class", "cat", "dog", "--model", str(tiny_model), "--steps", "3")
    done = run(*ask, "--schedule", "linear", "--out", "there")
    assert done.code == 0
    assert "curves and pictures are in there" in done.out
    assert len([line for line in done.out.splitlines() if line[:1] in "123" and line]) == 3
    kept = json.loads(Path("there/trace.json").read_text())
    assert [set(step) for step in kept["steps"]] == [set(TracedStep._fields)] * 3
    assert kept["settings"]["schedule"] == "linear"
    assert kept["steps"][0]["other"] is None  # the linear schedule begins without guidance
    assert [step["evaluations"] for step in kept["steps"]] == [1, 3, 5]
    for name in ("trace.png", "steps.png"):
        with Image.open(f"there/{name}") as picture:
            assert min(picture.size) > 100


def test_guidance_that_is_off_is_warned_of(run, tiny_model):
    ask = ("guidance", "trace", "--class", "cat", "--model", str(tiny_model), "--steps", "2", "--scale", "1")
    assert "warning: guidance adds nothing at any step" in run(*ask).out
    assert len(run(*ask, "--json").json["warnings"]) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--class", "cat", "--count", "17"], "a trace is of at most 16 pictures"),
        ([], "guidance needs words or a class"),
        (["--class", "cta"], "did you mean 'cat'?"),
        (["--class", "cat", "--guidance", "plus-plus", "--scale", "0.5"], "does not fit the sampler 'dpmpp'"),
        (["--class", "cat", "--schedule", "linnear"], "did you mean 'linear'?"),
        (["--class", "cat", "--guidance", "autoguidance"], "add --weak"),
    ],
)
def test_what_cannot_be_traced(run, tiny_model, options, said):
    done = run("guidance", "trace", "--model", str(tiny_model), "--steps", "2", "--quiet", *options)
    assert done.code == 2
    assert said in done.error
