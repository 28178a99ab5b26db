"""`melies guidance schedule` lists weights and scales, and plots them."""

import json
from pathlib import Path

import pytest
from PIL import Image


def listed(run, *words):
    done = run("guidance", "schedule", *words, "--json")
    assert done.code == 0, done.error
    return done.json


def test_list_is_equal_area_and_begins_with_the_first_denoising_step(run):
    found = listed(run, "linear", "--omega", "7.5", "--steps", "50")
    assert len(found["weights"]) == len(found["scales"]) == 50
    assert found["weights"][0] == 0
    assert found["weights"][-1] == pytest.approx(15)
    assert found["mean"] == sum(found["weights"]) / 50 == pytest.approx(7.5)
    assert found["scales"] == pytest.approx([1 + weight for weight in found["weights"]])
    assert (found["name"], found["clock"], found["normalisation"]) == ("linear", "step", "equal-area")
    assert (found["convention"], found["plot"]) == ("weight", None)


def test_as_written_as_scale_and_removed(run):
    found = listed(run, "linear", "--omega", "8", "--steps", "5", "--as-written", "--as-scale")
    assert found["weights"] == found["scales"] == [0, 2, 4, 6, 8]
    assert (found["convention"], found["normalisation"]) == ("scale", "as-written")
    found = listed(run, "static", "--omega", "2", "--steps", "5", "--remove", "0.5", "1")
    assert found["scales"] == [1, 1, 1, 3, 3]
    found = listed(run, "one-liner", "--omega", "14", "--steps", "9")
    assert found["weights"] == [max(1, 14.0 * 2 * t / 10) for t in range(1, 10)]
    assert found["normalisation"] == "as-written"


def test_clock_follows_the_grid(run):
    def weights(*words):
        return listed(run, "linear", "--steps", "9", *words)["weights"]

    assert weights("--grid", "linear", "--clock", "sigma") == pytest.approx(weights())
    assert weights("--clock", "sigma") != pytest.approx(weights(), rel=0.1)


def test_plot_and_table(run):
    done = run("guidance", "schedule", "clamp-linear:2", "--steps", "4", "--out", "a/b.png")
    assert done.code == 0
    assert done.out.rstrip().endswith("mean weight 7.5; plotted in a/b.png")
    assert done.out.splitlines()[0].split() == ["step", "weight", "scale"]
    assert done.out.splitlines()[1].split() == ["1", "2", "3"]
    with Image.open(Path("a/b.png")) as plot:
        assert plot.size == (640, 400)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lineer"], "unknown schedule 'lineer'; did you mean 'linear'?"),
        (["linear", "--omega", "nan"], "omega = nan"),
        (["linear", "--steps", "0"], "steps = 0"),
        (["linear", "--clock", "tick"], "unknown clock 'tick'"),
        (["clamp-linear:9", "--omega", "2"], "floor of 9 leaves no mean of 2"),
        (["static", "--remove", "0.8", "0.2"], "ends swapped; give 0.2 0.8"),
        (["linear", "--sigma-min", "9", "--sigma-max", "3"], "sigma_max = 3"),
    ],
)
def test_mistakes(run, words, said):
    done = run("guidance", "schedule", *words)
    assert done.code == 2
    assert said in done.error


def test_check_says_what_guidance_does(run):
    done = run("guidance", "check", "projected:0.5", "--out", "found.json")
    assert done.code == 0
    header, row = done.out.splitlines()[:2]
    assert header.split()[:2] == ["of", "form"]
    assert row.startswith("projected:0.5  u + s·(c − u)  seamless  50%")
    assert done.out.rstrip().endswith("written to found.json")
    record = json.loads(Path("found.json").read_text())
    assert record["notes"]["table"]["rows"][0][0] == "projected:0.5"
    assert record["versions"]["torch"]
    (one,) = run("guidance", "check", "plain", "--json").json["targets"]
    assert (one["name"], one["off"], one["evaluations"], one["remarks"]) == ("plain", 1.0, [2, 1, 1], [])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no target given"),
        (["projcted"], "did you mean 'projected'?"),
        (["os.path:nothing"], "there is nothing to import there"),
        (["os:getcwd"], "os:getcwd: TypeError"),
    ],
)
def test_check_with_bad_words(run, words, said):
    done = run("guidance", "check", *words)
    assert done.code == 2
    assert said in done.error
