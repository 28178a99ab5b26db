"""`melies sweep`, `melies guidance search` and `melies guidance experiments`, as they are typed."""

import json
from pathlib import Path

import pytest
from PIL import Image

FEW = ("--seeds", "20", "--steps", "3", "--features", "pixels")


@pytest.fixture
def photographs(tmp_path, monkeypatch) -> Path:
    """Some pictures of each of two classes, to be measured with few replicates."""
    monkeypatch.setattr("melies.recipes.sweep.measure.RESAMPLES", 10)
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "real" / name).mkdir(parents=True)
        for i in range(22):
            picture = Image.linear_gradient("L").rotate(90 * number).resize((8, 8))
            picture.point(lambda level, i=i: min(255, level + 5 * i)).convert("RGB").save(
                tmp_path / "real" / name / f"{i}.png"
            )
    return tmp_path / "real"


def test_a_sweep_is_planned_then_made_then_gone_on_with(run, tiny_model, photographs):
    words = ("sweep", "--model", str(tiny_model), "--data", str(photographs), *FEW, "--scales", "1", "3")
    planned = run(*words, "--methods", "plain", "signed", "--dry-run", "--json").json
    assert [cell["evaluations"] for cell in planned["cells"]] == [3, 6]
    assert planned["evaluations"] == planned["pictures"] * 9
    assert [entry["reason"].partition(";")[0] for entry in planned["skipped"]] == [
        "the guidance 'signed' needs more than the model"
    ] * 2
    assert not Path("runs").exists()
    done = run(*words, "--json")
    assert done.code == 0, done.err
    made = done.json
    assert made["drawn"] == 2
    assert made["fingerprint"] == planned["fingerprint"]
    assert made["out"] == f"runs/sweep-pets-{made['fingerprint']}"
    assert Path(made["page"]).exists()
    rows = [json.loads(line) for line in (Path(made["out"]) / "cells.jsonl").read_text().splitlines()]
    assert [row["evaluations"] for row in rows] == [3, 6]
    assert run(*words).code == 2  # it is there already
    again = run(*words, "--resume", "--schedules", "static", "linear", "--json").json
    assert again["drawn"] == 1
    linear = next(cell for cell in again["cells"] if cell["cell"]["schedule"] == "linear")
    assert set(linear["against_static"]) >= {"FD", "diversity"}
    shown = run(*words, "--resume")
    assert "evaluations" in shown.out
    assert shown.out.splitlines()[-1].startswith("0 cells drawn now; the page is runs/sweep-pets-")
    quiet = run(*words, "--resume", "--quiet")
    assert quiet.err == ""


def test_a_search_is_shown_as_tables(run, tiny_model, photographs):
    words = ("--steps", "3", "--features", "pixels", "--tuning", "20", "--test", "20", "--budget", "400")
    done = run(
        *("guidance", "search", "--models", str(tiny_model), "--data", str(photographs), *words),
        *("--family", "pcs", "--scale", "3", "--json"),
    )
    assert done.code == 0, done.err
    found = done.json
    assert found["parameters"] == ["s"]
    assert found["out"] == "runs/search-pcs"
    assert [Path(file).name for file in found["files"]] == [
        *("search.json", "against-static.png", "record.json")
    ]
    assert found["tuned"][0]["evaluations"] <= 400


def test_the_experiments_are_made(run, tiny_model, photographs):
    done = run(
        *("guidance", "experiments", "--model", str(tiny_model), "--data", str(photographs)),
        *("--only", "weights", "classifier", "--seeds", "20", "--steps", "3", "--features", "pixels"),
        "--json",
    )
    assert done.code == 0, done.err
    found = done.json
    assert found["records"] == ["weight-0", "weight-1", "weight-3"]
    assert list(found["skipped"]) == ["classifier"]
    assert Path(found["page"]).exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sweep", "--schedules", "lineer"), "unknown schedule 'lineer'; did you mean 'linear'"),
        (("sweep", "--scales", "x"), "--scales"),
        (("sweep", "--intervals", "5:1"), "has its ends swapped"),
        (("sweep", "--model", "nothing"), "nothing"),
        (("sweep", "--scalse", "2"), "unknown option '--scalse'; did you mean --scales?"),
        (("guidance", "search", "--family", "pcss"), "unknown family 'pcss'; did you mean 'pcs'"),
        (("guidance", "search", "--scale", "1"), "scale = 1"),
        (("guidance", "experiments", "--only", "weigths"), "unknown experiment 'weigths'"),
    ],
)
def test_mistakes(run, words, said):
    done = run(*words)
    assert done.code == 2
    assert said in done.error
