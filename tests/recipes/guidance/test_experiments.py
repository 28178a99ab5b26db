"""The tutorial's experiments on a toy: sweeps, records by the names that claims ask for, and a page."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from melies import checkpoint
from melies.errors import UserError
from melies.images.noisy_classifier import NoisyClassifier, NoisyClassifierConfig
from melies.interfaces import Metric
from melies.metrics import measure
from melies.nn.unet import UNetConfig
from melies.recipes.claims.claim import Finding, Verdict
from melies.recipes.claims.guidance import PART, SEARCH
from melies.recipes.claims.page import judge_parts, read_sets
from melies.recipes.guidance import EXPERIMENTS
from melies.recipes.guidance.experiment_settings import ExperimentSettings
from melies.recipes.guidance.experiments import ExperimentsReport, named_results, run_experiments, sweep_of
from melies.recipes.job import Job
from melies.recipes.sweep.cells import Cell
from melies.recipes.sweep.compare import Result


@pytest.fixture(scope="module")
def made(toy_folders, tmp_path_factory) -> tuple[ExperimentSettings, Path, ExperimentsReport]:
    """All experiments, at one scale of the schedules."""
    root = tmp_path_factory.mktemp("experiments")
    model, data, judge = map(str, toy_folders)
    torch.manual_seed(0)
    network = UNetConfig(channels=1, size=8, widths=(8,), blocks=1, attention=(), head_dim=8, dim=16)
    guide = NoisyClassifier(NoisyClassifierConfig(network=network, classes=("right", "left")))
    classifier = str(checkpoint.save(root / "guide", guide, ema=guide.state_dict()))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MELIES_MODELS", str(root / "models"))
        patch.setattr("melies.recipes.sweep.measure.RESAMPLES", 10)
        few = measure.bootstrap
        patch.setattr(measure, "bootstrap", lambda *a, **k: few(*a, **{**k, "num_resamples": 10}))
        settings = ExperimentSettings(
            model=model,
            classifier=classifier,
            scales=(1.0, 3.0),
            seeds=20,
            steps=4,
            data=Path(data),
            judge=judge,
            features=judge,
        )
        report = run_experiments(settings, Job(out=root / "out", say=lambda line: None), command="melies x")
    return settings, root / "out", report


def test_every_experiment_is_made_and_shown(made):
    _, out, report = made
    assert set(report.sweeps) == set(EXPERIMENTS)
    assert not report.skipped
    page = (out / "experiments.html").read_text()
    for name in EXPERIMENTS:
        assert f"<h2>{name.capitalize()}: figures</h2>" in page
        assert (out / name / "cells.jsonl").exists()
    assert page.count("solid colour") >= 2


def test_records_are_called_as_claims_ask_for_them(made):
    _, out, report = made
    (records,) = read_sets(out).values()
    assert set(records) == set(report.records)
    judged = judge_parts(["guidance"], [out])
    findings = [finding for entry in judged for finding in entry.findings.values()]
    assert len(findings) == len(PART.claims)
    assert all(isinstance(finding, Finding) for finding in findings)
    unmeasured = [finding.verdict == Verdict.UNMEASURED for finding in findings]
    assert unmeasured == [claim.command == SEARCH for claim in PART.claims]
    early, whole = records["removed-early"], records["removed-nothing"]
    assert early.metric("FD − static").value == pytest.approx(early.find("FD").value - whole.find("FD").value)
    assert records["weight-0"].metric("evaluations").value == 4
    assert records["weight-3"].metric("evaluations").value == 8
    assert (
        records["same-linear"].find("FD − static").value == records["best-linear"].find("FD − static").value
    )
    more = records["weight-3"]
    assert more.find("FD − weight-1").value == pytest.approx(
        more.find("FD").value - records["weight-1"].find("FD").value
    )
    linear, static = records["best-linear"], records["best-static"]
    assert linear.metric("FD − best static").value == pytest.approx(
        linear.find("FD").value - static.find("FD").value
    )
    assert linear.notes["cell"]["scale"] == 3  # 1 is off
    best = [records[name] for name in ("classifier-1", "classifier-3", "best-classifier")]
    assert best[2].find("FD").value == min(record.find("FD").value for record in best)


def test_the_condition_alone_is_no_guidance_at_its_best():
    distances = {("plain", 1.0): 1.0, ("plain", 3.0): 2.0, ("classifier", 1.0): 3.0, ("classifier", 3.0): 4.0}
    results = [
        Result(
            cell=Cell(method=method, scale=scale),
            key="",
            metrics=(Metric("FD[pixels]", distance, "", False, 20, (0.0, 5.0), 0),),
            evaluations=8,
            pictures=20,
            seconds=1.0,
            against_static={},
        )
        for (method, scale), distance in distances.items()
    ]
    named = dict(named_results("classifier", results))
    assert named["best-classifier-free"].cell.scale == 3
    assert named["best-classifier"].cell.scale == 1


def test_the_slides_line_of_code_is_among_the_panels(made):
    _, _, report = made
    results = {r.cell.schedule: r for r in report.sweeps["panels"].results if r.cell.scale == 15}
    scales = results["one-liner"].cell.guidance().scale.on(torch.linspace(4, 0, 5))
    assert scales.tolist() == pytest.approx([1 + max(1, 14.0 * 2 * t / 5) for t in range(1, 5)])


def test_it_goes_on_without_drawing_again(made, monkeypatch):
    settings, out, report = made
    monkeypatch.setattr("melies.recipes.sweep.draw.Drawing.draw", None)
    some = replace(settings, only=("weights",), classifier=None)
    again = run_experiments(some, Job(out=out, resume=True, say=lambda line: None))
    assert again.sweeps["weights"].drawn == 0
    assert again.records["weight-3"].metrics == report.records["weight-3"].metrics


def test_what_cannot_be_asked():
    with pytest.raises(UserError, match="unknown experiment 'weigths'; did you mean 'weights'"):
        ExperimentSettings(only=("weigths",))
    with pytest.raises(UserError, match="each once"):
        ExperimentSettings(only=("weights", "weights"))
    assert sweep_of("removed", ExperimentSettings()).removals == ("0.8:1", "0.4:0.6", "0:0.2")
