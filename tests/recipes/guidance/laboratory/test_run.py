"""The laboratory: what must be equal is, what is known is found, what is refused is told."""

import json

import pytest
import torch

from melies.diffusion import METHODS
from melies.diffusion.noise import karras
from melies.errors import UserError
from melies.interfaces import Schedule
from melies.recipes.guidance.laboratory.cells import (
    Cell,
    draw,
    guidance_for,
    measure,
    measure_truth,
    plan,
    prepare,
)
from melies.recipes.guidance.laboratory.mixtures import MIXTURES
from melies.recipes.guidance.laboratory.run import run_laboratory
from melies.recipes.guidance.laboratory.settings import NAMES, NOT_HERE, THIRDS, LaboratorySettings
from melies.recipes.guidance.laboratory.summary import Way, interpolated, summarise
from melies.recipes.job import Job

SMALL = LaboratorySettings(scales=(1.5, 3.0), samples=200, resamples=20, steps=9)


@pytest.fixture(scope="module")
def bench():
    return prepare(MIXTURES["unequal"](), SMALL)


def test_names():
    assert tuple(MIXTURES) == NAMES
    assert set(LaboratorySettings().methods) == METHODS.keys() - NOT_HERE.keys()


def test_every_combination_is_planned():
    cells = list(plan(SMALL))
    assert len(set(cells)) == len(cells) == len(SMALL.methods) * (len(SMALL.schedules) + 3) * 2
    brief = LaboratorySettings(brief=True)
    assert {cell.schedule for cell in plan(brief) if cell.method != "plain"} == {"static"}


@pytest.mark.parametrize("third", THIRDS)
@pytest.mark.parametrize("steps", [9, 32])
def test_a_third_has_the_mean_of_the_whole(third, steps):
    sigmas = karras(steps, 0.01, 20.0)
    scale = guidance_for(Cell("plain", third, 3.0), sigmas).scale
    assert isinstance(scale, Schedule)
    scales = scale.on(sigmas)
    assert float(scales.mean()) == pytest.approx(3.0)
    inside = (scales > 1).nonzero().flatten()
    start = {"early": 0, "middle": steps // 3, "late": 2 * steps // 3}[third]
    assert int(inside[0]) == start
    assert len(inside) == int(inside[-1]) - start + 1 >= steps // 3


def test_the_exact_classifier_is_plain_guidance(bench):
    for schedule in ("static", "linear", "late"):
        plain = draw(bench, Cell("plain", schedule, 3.0))
        torch.testing.assert_close(draw(bench, Cell("classifier", schedule, 3.0)), plain)


def test_cells_of_scale_one_are_alike(bench):
    alone = draw(bench, Cell("plain", "static", 1.0))
    for method in ("rescaled", "projected", "autoguidance", "signed"):
        same = method != "signed"  # which still draws away from the negative
        assert torch.allclose(draw(bench, Cell(method, "static", 1.0)), alone) is same


def test_the_truth_is_nearer_than_guidance(bench):
    truth = measure_truth(bench)
    for scale in (1.0, 3.0):
        found = measure(bench, draw(bench, Cell("plain", "static", scale)))
        assert float(found.error[0]) > 5 * float(truth.error.abs().max())
        assert float(found.variation[0]) > float(truth.variation[0])
        assert float(found.divergence[0]) > float(truth.divergence[0])
    assert float(measure(bench, draw(bench, Cell("plain", "static", 3.0))).alignment[0]) > 0.9


def test_interpolation():
    along = torch.tensor([[0.1, 0.1], [0.5, 0.2], [0.9, 0.3]]).double()
    values = torch.tensor([[1.0, 1.0], [3.0, 2.0], [4.0, 5.0]]).double()
    found = interpolated(along, values, torch.tensor([0.7, 0.35]).double())
    assert float(found[0]) == pytest.approx(3.5)
    assert bool(found[1].isnan())


def test_static_guidance_is_equal_to_itself_at_its_own_alignment(bench):
    cells = {cell: measure(bench, draw(bench, cell)) for cell in (Cell("plain", "static", 1.5), TILTED)}
    unguided = measure(bench, draw(bench, Cell("plain", "static", 1.0)))
    summary = summarise(cells, unguided, SMALL)[Way("plain", "static")]
    torch.testing.assert_close(summary.numbers["FD at equal alignment"], cells[TILTED].frechet)
    torch.testing.assert_close(summary.numbers["diversity at equal alignment"], cells[TILTED].diversity)
    assert summary.numbers["error at equal area"] is cells[TILTED].error
    least = min(cells, key=lambda cell: float(cells[cell].error[0]))
    assert summary.best_scale == least.scale


TILTED = Cell("plain", "static", 3.0)


def test_a_run_is_written_and_is_the_same_again(tmp_path):
    settings = LaboratorySettings(
        mixtures=("line",),
        methods=("plain", "rescaled", "plus-plus"),
        schedules=("static", "linear", "clamp-linear"),
        scales=(1.5, 3.0),
        steps=9,
        samples=100,
        resamples=20,
    )
    texts = []
    for name in ("a", "b"):
        report = run_laboratory(settings, Job(out=tmp_path / name), command="melies guidance laboratory")
        kept = json.loads(report.records[0].read_text())
        texts.append(json.dumps([kept["metrics"], kept["notes"]]))
    assert texts[0] == texts[1]
    refused = report.found["line"].refused
    assert "not defined for samples of 1 numbers" in refused["rescaled static 3"]
    assert "CFG++ has no scale" in refused["plus-plus early 3"]
    assert "a floor of 1" in refused["plain clamp-linear 1.5"]
    assert [path.name for path in report.figures] == ["laboratory-errors.png", "laboratory-samples.png"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"methods": ("plain", "perturbed")}, "cannot guide by 'perturbed'; it edits attention"),
        ({"methods": ("plain", "frequency")}, "cannot guide by 'frequency'"),
        ({"methods": ("projected",)}, "plain static guidance is what others are compared with"),
        ({"schedules": ("static", "linaer")}, "did you mean 'linear'"),
        ({"mixtures": ("lines",)}, "did you mean 'line'"),
        ({"tilt": 2.25}, "none of the scales"),
        ({"scales": (0.5, 3.0)}, "scales"),
        ({"samples": 5}, "samples"),
        ({"mixtures": ()}, "no mixtures"),
    ],
)
def test_what_cannot_be_asked(asked, said):
    with pytest.raises(UserError, match=said):
        LaboratorySettings(**asked)
