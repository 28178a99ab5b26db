"""A sweep from end to end: cells that are drawn once, compared pair by pair, and shown."""

import json
from pathlib import Path

import pytest
from PIL import Image

from melies.errors import UserError
from melies.images.generate import draw
from melies.nn.unet import UNet
from melies.recipes.job import Job
from melies.recipes.sweep.draw import Drawing
from melies.recipes.sweep.measure import Meter
from melies.recipes.sweep.run import SweepReport, prepare_sweep, run_sweep
from melies.recipes.sweep.settings import SweepSettings
from melies.recipes.sweep.store import read_cell, read_rows


def swept(settings: SweepSettings, out: Path, *, resume: bool = False) -> SweepReport:
    job = Job(out=out, resume=resume, say=lambda line: None)
    return run_sweep(prepare_sweep(settings, job), job, command="melies sweep")


@pytest.fixture
def drawn(monkeypatch) -> list[tuple[int, str]]:
    """Steps and sampler of every cell that is drawn from now on."""
    calls = []
    whole = Drawing.draw

    def call(self, guidance, **fields):
        calls.append((fields["steps"], fields["sampler"]))
        return whole(self, guidance, **fields)

    monkeypatch.setattr(Drawing, "draw", call)
    return calls


def test_cells_are_measured_compared_and_shown(toy, tmp_path):
    settings = toy(schedules=("static", "linear"), methods=("plain", "signed"))
    report = swept(settings, tmp_path / "out")
    names = [result.cell.name for result in report.results]
    assert names[2] == "plain 3, linear, 4 steps, dpmpp"
    off, static, linear = report.results
    assert (off.cell.scale, static.cell.scale, linear.cell.schedule) == (1.0, 3.0, "linear")
    assert off.evaluations == 4
    assert static.evaluations == 8
    assert linear.evaluations == 7  # the first weight of the rising line is 0
    assert not static.against_static
    reasons = {entry.reason.partition(";")[0] for entry in report.plan.skipped}
    assert reasons == {
        f"draws the same as {off.cell.name}",
        "the guidance 'signed' needs more than the model",
    }
    found = linear.against_static["FD"]
    assert found.value == pytest.approx(linear.find("FD").value - static.find("FD").value)
    assert found.interval[0] <= found.value <= found.interval[1]
    agreement = linear.against_static["agreement"]
    assert agreement.value == pytest.approx(linear.find("agreement").value - static.find("agreement").value)
    for name in (
        "FD",
        "KD",
        "coverage",
        "diversity",
        "diversity within classes",
        "agreement",
        "edge contrast",
    ):
        assert static.find(name) is not None, name
    page = report.page.read_text()
    assert page.count("<img") == 6
    assert "needs more than the model" in page
    assert page.count("agreement ↑ (%)") == page.count("FD ↓ (features²)") == 2
    summary = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert [cell["name"] for cell in summary["cells"]] == names
    assert set(summary["fronts"]["quality-cost"]) <= set(names)
    with Image.open(tmp_path / "out" / "figures" / "quality-cost.png") as figure:
        assert figure.size == (800, 480)


def test_every_cell_has_the_same_seeds(toy, tmp_path):
    settings = toy(seed=5)
    report = swept(settings, tmp_path / "out")
    prepared = prepare_sweep(settings, Job(out=tmp_path / "out", say=lambda line: None))
    shown = read_cell(tmp_path / "out", report.results[1].key)["pictures"]
    alone = draw(
        settings.model,
        classes=prepared.drawing.asked.classes[:1],
        scale=3.0,
        num_steps=4,
        seeds=[5],
    )
    assert (shown[0].int() - alone[0].int()).abs().max() <= 1


def test_a_cell_that_is_done_is_never_drawn_again(toy, tmp_path, drawn):
    out = tmp_path / "out"
    first = swept(toy(), out)
    assert drawn == [(4, "dpmpp")] * 2
    more = swept(toy(samplers=("dpmpp", "euler")), out, resume=True)
    assert drawn[2:] == [(4, "euler")] * 2
    assert more.drawn == 2
    assert [r.metrics for r in more.results[:2]] == [r.metrics for r in first.results]
    assert len(read_rows(out / "cells.jsonl")) == 4


def test_a_sweep_that_was_stopped_goes_on_to_the_same_end(toy, tmp_path, drawn, monkeypatch):
    whole = swept(toy(), tmp_path / "whole")
    calls, original = [], Meter.measure

    def stop(self, pixels):
        calls.append(len(pixels))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, pixels)

    monkeypatch.setattr(Meter, "measure", stop)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        swept(toy(), out)
    rows = out / "cells.jsonl"
    rows.write_text(rows.read_text() + '{"key": "cut sho')
    monkeypatch.setattr(Meter, "measure", original)
    report = swept(toy(), out, resume=True)
    assert report.drawn == 1
    assert [r.metrics for r in report.results] == [r.metrics for r in whole.results]
    assert all(row.endswith("}") for row in rows.read_text().splitlines())


def test_another_setting_is_another_sweep(toy, tmp_path):
    out = tmp_path / "out"
    swept(toy(), out)
    with pytest.raises(UserError, match="already holds a sweep; add --resume"):
        swept(toy(), out)
    with pytest.raises(UserError, match="has seeds = 24, and not 25; give the same options"):
        swept(toy(seeds=25), out, resume=True)
    settings = toy()
    job = Job(out=out, say=lambda line: None)
    prints = {
        prepare_sweep(entry, job).fingerprint for entry in (settings, toy(seed=1), toy(features="pixels"))
    }
    assert len(prints) == 3
    assert prepare_sweep(toy(batch=5, scales=(2.0,)), job).fingerprint in prints


def test_a_damaged_row_is_named(toy, tmp_path):
    out = tmp_path / "out"
    swept(toy(scales=(1.0,)), out)
    rows = out / "cells.jsonl"
    rows.write_text("no row\n" + rows.read_text())
    with pytest.raises(UserError, match=r"cells\.jsonl, line 1: not a row of results"):
        swept(toy(), out, resume=True)


def test_counts_are_those_that_were_planned(toy, tmp_path):
    settings = toy(
        methods=("plain", "plus-plus", "zero-star", "perturbed", "projected", "frequency:2"),
        schedules=("linear",),
        scales=(0.4, 3.0),
        samplers=("euler", "heun"),
        intervals=("all", "0.1:3"),
        steps=(5,),
        seeds=20,
    )
    prepared = prepare_sweep(settings, Job(out=tmp_path, say=lambda line: None))
    kinds = {(entry.cell.method, entry.cell.sampler) for entry in prepared.plan.cells}
    assert ("plus-plus", "euler") in kinds
    assert ("plus-plus", "heun") not in kinds
    for entry in prepared.plan.cells:
        pictures = prepared.drawing.draw(
            entry.cell.guidance(), steps=5, sampler=entry.cell.sampler, rows=slice(2)
        )
        assert pictures.evaluations == 2 * entry.evaluations, entry.cell.name


def test_a_method_without_its_attention_is_left_out_before_anything_is_drawn(toy, tmp_path, monkeypatch):
    whole = UNet.forward
    monkeypatch.setattr(
        UNet, "forward", lambda self, *args, attention=None, **fields: whole(self, *args, **fields)
    )
    job = Job(out=tmp_path, say=lambda line: None)
    plan = prepare_sweep(toy(methods=("perturbed", "plain")), job).plan
    assert {entry.cell.method for entry in plan.cells} == {"plain"}
    assert all("the network has none" in entry.reason for entry in plan.skipped)
    with pytest.raises(UserError, match="no combination can be drawn"):
        prepare_sweep(toy(methods=("perturbed",)), job)
