"""The runs with one thing changed: what each changes, how they are compared, resume, refusals, the page."""

from dataclasses import replace

import pytest
import torch

from melies.errors import UserError
from melies.interfaces import Metric
from melies.recipes.claims.claim import Verdict
from melies.recipes.claims.page import judge_parts
from melies.recipes.control import REACHED, STRICT
from melies.recipes.control import emoji as recipe
from melies.recipes.control.experiments import (
    OF_PAIR,
    ControlExperiments,
    Watched,
    common_target,
    run_experiments,
    time_to,
)
from melies.recipes.control.experiments_page import run_cells, write_experiments
from melies.recipes.control.watch import WATCHED
from melies.recipes.job import Job
from melies.report.record import Record, read_record, record_run, write_record
from melies.training.log import Log

SETTINGS = ControlExperiments(
    num_samples=640, watch_every=160, batch_size=32, pairs=(1_000,), kinds=("mask",)
)
TOLD = {"branch": 0.8, "random-joints": 0.5, "unlocked": 0.85, "tuning": 0.7, "pairs-1000": 0.78}
COSTS = {"branch": (1.0, 300.0), "unlocked": (3.0, 900.0), "tuning": (2.0, 800.0)}


def silent(*_: object) -> None:
    """A run that says nothing."""


@pytest.fixture
def runs(monkeypatch) -> list[str]:
    """Runs that take no time: fidelity rises in a straight line to what is told; the names of those made."""
    made: list[str] = []

    def run(config, job, *, captions_in):
        name = job.out.name
        made.append(name)
        with Log(job.out / WATCHED, samples_seen=-1) as log:
            for watch in range(5):
                log.write(samples_seen=160 * watch, fidelity=0.2 + (TOLD[name] - 0.2) * watch / 4)
        seconds, memory = COSTS.get(name, COSTS["branch"])
        own = "tuning the base and its hints" if config.tune_base else "control branch"
        values = (TOLD[name] + 0.01 * torch.linspace(-1, 1, 20)).tolist()
        numbers = {
            f"{STRICT}, with control": TOLD[name],
            f"{STRICT}, gain": TOLD[name] - 0.2,
            f"seconds per step, {own}": seconds,
            f"memory of a step, {own}": memory,
            "seconds per step, tuning the base": 1.5,
            "memory of a step, tuning the base": 700.0,
        }
        metrics = [Metric(title, n, "", True, 20, (n, n), 0) for title, n in numbers.items()]
        notes = {"config": config, OF_PAIR: values}
        record = record_run("control-emoji", metrics, data={}, command="", duration_s=1, notes=notes)
        write_record(job.out / "record.json", record)

    monkeypatch.setattr(recipe, "train_control", run)
    return made


def test_each_run_changes_one_thing():
    recipes = {name: SETTINGS.recipe(name) for name in SETTINGS.names}
    plain = recipes["branch"]
    assert recipes["random-joints"] == replace(plain, zero_joints=False)
    assert recipes["unlocked"] == replace(plain, tune_base=True)
    assert recipes["tuning"] == replace(plain, tune_base=True, depth=0)
    assert recipes["pairs-1000"] == replace(plain, num_pairs=1_000)
    assert plain.training.num_samples == 640
    assert plain.patience == 0


def test_runs_are_compared_with_the_branch_and_judged(runs, tmp_path):
    report = run_experiments(SETTINGS, Job(out=tmp_path, say=silent))
    assert runs == list(TOLD)
    strict = f"{STRICT} − branch"
    assert report.records["branch"].find(strict) is None
    assert report.records["random-joints"].metric(strict).value == pytest.approx(-0.3)
    tenths = report.records["pairs-1000"].metric(f"{STRICT} − 90 % of branch")
    assert tenths.value == pytest.approx(0.78 - 0.72)
    # the tuned base reaches 0.7: nine tenths of the way there from 0.2 is 0.65
    assert report.target == pytest.approx(0.65)
    seconds = {name: one.find(f"seconds {REACHED}") for name, one in report.records.items()}
    assert seconds["random-joints"] is None
    # a straight line to 0.8 is at 0.65 after three quarters of 640 pictures, in steps of 32, of one second
    assert seconds["branch"].value == pytest.approx(0.75 * 640 / 32)
    assert seconds["tuning"].value == pytest.approx(0.9 * 640 / 32 * 2)
    assert seconds["tuning"].interval == (480 / 32 * 2, 640 / 32 * 2)
    written = read_record(tmp_path / "records" / "tuning.json")
    assert written.metrics == report.records["tuning"].metrics
    assert OF_PAIR not in written.notes
    verdicts = {
        judged.claim.quote: next(iter(judged.findings.values())).verdict
        for judged in judge_parts(["control"], [tmp_path])
    }
    for quote in ("adding extra", "Robust", "As fast", "Can be trained", "End-to-end", "make slight"):
        assert (
            next(verdict for words, verdict in verdicts.items() if words.startswith(quote)) == Verdict.HOLDS
        )
    page = write_experiments(tmp_path, report, SETTINGS).read_text()
    assert "joints that do not start at zero" in page
    assert "the branch, learned from 1,000 pairs" in page
    rows = {row[0]: row for row in run_cells(report).rows}
    assert rows["random-joints"][4:6] == ["–", "–"]
    for name in ("fidelity", "seconds"):
        assert (tmp_path / f"{name}.png").stat().st_size > 1_000


def test_what_is_done_is_not_made_again(runs, tmp_path):
    job = Job(out=tmp_path, say=silent)
    first = run_experiments(replace(SETTINGS, only=("branch",)), job)
    with pytest.raises(UserError, match="already holds branch, pairs-1000"):
        run_experiments(SETTINGS, job)
    again = run_experiments(SETTINGS, replace(job, resume=True))
    assert runs == ["branch", "pairs-1000", "random-joints", "unlocked", "tuning"]
    assert first.target is None
    assert again.target is not None
    with pytest.raises(UserError, match="other settings"):
        run_experiments(replace(SETTINGS, seed=5), replace(job, resume=True))


def test_a_fidelity_that_is_never_reached_has_no_time():
    watched = Watched([0, 10, 20], [0.2, 0.3, 0.4])
    cost = Metric("seconds per step, control branch", 2.0, "s", False, 1, (2.0, 2.0), 0)
    record = Record(name="branch", metrics=(cost,))
    assert time_to(watched, 0.5, record, 4) == []
    pictures, seconds = time_to(watched, 0.35, record, 4)
    assert (pictures.value, pictures.interval) == (pytest.approx(15), (10, 20))
    assert (seconds.value, seconds.interval) == (pytest.approx(7.5), (5, 10))
    flat = Watched([0, 10], [0.2, 0.2])
    assert common_target({"branch": watched, "tuning": flat}, 0.9) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"only": ("tuning",)}, "branch"),
        ({"only": ("branch", "branch")}, "once"),
        ({"only": ("branch", "frozen")}, "unknown run"),
        ({"pairs": (0,)}, "pairs"),
        ({"pairs": (10, 10)}, "once"),
        ({"share": 0.0}, "share"),
        ({"kinds": ("hed",)}, "needs weights"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        replace(SETTINGS, **change)
