"""Tuning and transfer on toys: seeds apart, nothing asked twice, and who is compared with whom."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from melies.diffusion.noise import karras
from melies.errors import UserError
from melies.images.generate import load_diffusion
from melies.recipes.guidance.families import family_of, knotted
from melies.recipes.guidance.place import Place
from melies.recipes.guidance.transfer import transfer_cells, tuned_cells, write_search
from melies.recipes.guidance.tune import SearchReport, open_places, run_search
from melies.recipes.guidance.tune_settings import FAMILIES, SearchSettings
from melies.recipes.job import Job
from melies.report.record import read_record


@pytest.fixture
def settings(toy_folders: tuple[Path, Path, Path], tmp_path, monkeypatch) -> SearchSettings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MELIES_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr("melies.recipes.sweep.measure.RESAMPLES", 10)
    model, data, judge = map(str, toy_folders)
    return SearchSettings(
        models=(model,),
        scale=4.0,
        steps=(4,),
        budget=600,
        tuning=24,
        test=24,
        data=Path(data),
        judge=judge,
        features=judge,
    )


def searched(settings: SearchSettings, out: Path, *, resume: bool = False) -> SearchReport:
    return run_search(settings, Job(out=out, resume=resume, say=lambda line: None))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_keeps_what_it_says(name, toy_folders):
    family = family_of(name, load_diffusion(toy_folders[0]), method="plain", scale=4.0, knots=3)
    sigmas = karras(12, 0.01, 80.0)
    seen = set()
    for place in (0.1, 0.5, 0.9):
        values = family.values([place] * len(family.parameters))
        scales = family.build(values).scale.on(sigmas)
        if name == "interval":
            inside = (sigmas[:-1] > values[0]) & (sigmas[:-1] <= values[0] * values[1])
            assert scales.tolist() == [4.0 if on else 1.0 for on in inside.tolist()]
        else:
            assert float(scales.mean()) == pytest.approx(4.0)
        seen.add(tuple(scales.tolist()))
    assert len(seen) > 1 or name == "curve"  # three equal knots are the static schedule


def test_a_free_curve_goes_through_its_knots():
    u = torch.linspace(1, 0, 5, dtype=torch.float64)
    assert knotted((0.0, 1.0, 0.5))(u).tolist() == [0.0, 0.5, 1.0, 0.75, 0.5]


def test_seeds_and_prompts_of_tuning_and_test_are_apart(settings):
    (place,) = open_places(settings, Job(out=Path("out"), say=lambda line: None))
    tuning, testing = place.tuning, place.testing
    assert len(tuning.asked.rows) == len(testing.asked.rows) == 24
    assert not set(tuning.asked.rows.names) & set(testing.asked.rows.names)
    assert testing.seed == tuning.seed + 24
    assert 0 < tuning.asked.classes.count("left") < 24


def test_tuned_values_are_tested_everywhere_and_compared(settings, tmp_path):
    settings = replace(settings, steps=(4, 6), family="pcs")
    report = searched(settings, tmp_path / "out")
    names = [found.place for found in report.tuned]
    assert names == ["model, 4 steps", "model, 6 steps"]
    assert [(t.tuned, t.tested) for t in report.transfers] == [(a, b) for a in names for b in names]
    for found in report.tuned:
        assert found.evaluations <= settings.budget
        assert 0.02 <= found.values[0] <= 8
    for entry in report.transfers:
        assert set(entry.against_static) >= {"FD", "diversity", "agreement"}
        assert bool(entry.against_own) == (entry.tuned != entry.tested)
        low, high = entry.against_static["FD"].interval
        assert low <= entry.against_static["FD"].value <= high
    written = write_search(report, settings, command="melies guidance search")
    assert [path.name for path in written] == [
        "search.json",
        "against-static.png",
        "against-own.png",
        "record.json",
    ]
    record = read_record(written[3])
    assert [metric.name for metric in record.metrics if "static" in metric.name] == [
        "tuned here − static: FD, model, 4 steps",
        "tuned elsewhere − static: FD, model, 4 steps → model, 6 steps",
        "tuned elsewhere − static: FD, model, 6 steps → model, 4 steps",
        "tuned here − static: FD, model, 6 steps",
    ]
    beside = record.find("elsewhere − here: FD, model, 4 steps → model, 6 steps")
    assert beside.value == report.transfers[1].against_own["FD"].value
    data = json.loads(written[0].read_text())
    assert data["parameters"] == ["s"]
    assert len(data["transfers"]) == 4
    with Image.open(written[1]) as figure:
        assert figure.width == 600
    assert tuned_cells(report).header[:2] == ["tuned on", "s"]
    cells = transfer_cells(report, settings, "own")
    assert cells.rows[0][1] == cells.rows[1][2] == "–"
    assert "[" in cells.rows[0][2]


def test_it_goes_on_and_asks_nothing_twice(settings, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first = searched(settings, out)
    assert first.asked > 5
    calls = []
    whole = Place.draw
    monkeypatch.setattr(
        Place, "draw", lambda self, *args, **fields: calls.append(1) or whole(self, *args, **fields)
    )
    again = searched(settings, out, resume=True)
    assert (again.asked, calls) == (0, [])
    assert again.tuned == first.tuned
    assert again.transfers == first.transfers
    with pytest.raises(UserError, match="already holds a search"):
        searched(settings, out)
    with pytest.raises(UserError, match=r"has scale = 4\.0, and not 5\.0"):
        searched(replace(settings, scale=5.0), out, resume=True)


def test_values_that_cannot_be_elsewhere_are_said_so(settings, tmp_path, monkeypatch):
    settings = replace(settings, steps=(4, 6), family="clamp-linear")
    settings = replace(settings, budget=600)
    first = searched(settings, tmp_path / "out")
    here, whole = first.tuned[0].values, Place.guidance
    monkeypatch.setattr(
        Place,
        "guidance",
        lambda self, values: None if self.steps == 6 and values == here else whole(self, values),
    )
    report = searched(settings, tmp_path / "again")
    cells = transfer_cells(report, settings, "static")
    assert cells.rows[0][2] == "cannot be"
    assert "[" in cells.rows[0][1]
    assert write_search(report, settings)[1].exists()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"family": "clamp"}, "unknown family 'clamp'"),
        ({"objective": "fid"}, "unknown objective 'fid'; did you mean 'fd'"),
        ({"method": "signed"}, "schedules of the guidance 'signed' cannot be tuned"),
        ({"scale": 1.0}, "scale = 1.0 is not in"),
        ({"models": ()}, "models: at least one is needed"),
        ({"steps": (4, 4)}, "steps: at least one is needed, each once"),
        ({"budget": 0}, "budget = 0"),
        ({"tuning": 5}, "tuning = 5"),
    ],
)
def test_what_cannot_be_is_refused(fields, said):
    with pytest.raises(UserError, match=said):
        SearchSettings(**fields)


def test_a_budget_for_nothing_is_refused(settings, tmp_path):
    with pytest.raises(UserError, match="a budget of 10 network evaluations is too small"):
        searched(replace(settings, budget=10), tmp_path / "out")
