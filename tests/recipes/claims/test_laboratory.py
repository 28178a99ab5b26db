"""The claims on schedules and intervals read the laboratory's records by the names that these have."""

import pytest

from melies.interfaces import Metric
from melies.recipes.claims.claim import Verdict
from melies.recipes.claims.page import judge_parts
from melies.report.record import Record, write_record


def write(folder, **values):
    """A record in which every metric that a claim reads has one value, and those named have theirs."""
    ways = ("linear", "cosine", "invlinear", "sine", "early", "middle", "late")
    titles = (
        *("error at equal area", "error at its best scale"),
        *("FD at equal alignment", "diversity at equal alignment"),
    )
    names = [f"{way}{less}: {title}" for way in ways for less in ("", " − static") for title in titles]
    found = dict.fromkeys([*names, "error without guidance"], 0.5) | values
    metrics = tuple(
        Metric(name, value, "", False, 10, (value - 0.1, value + 0.1), 0) for name, value in found.items()
    )
    write_record(folder / "laboratory.json", Record(name=folder.name, metrics=metrics))


@pytest.fixture
def verdicts(tmp_path):
    def judged(**values):
        write(tmp_path / "line", **values)
        return {
            entry.claim.quote.split()[0]: entry.findings["line"].verdict
            for entry in judge_parts(["laboratory"], [tmp_path])
        }

    return judged


def test_every_number_that_is_read_is_in_the_record(verdicts):
    assert Verdict.UNMEASURED not in verdicts().values()


def test_increasing_schedules_by_area(verdicts):
    names = "linear − static: error at equal area", "cosine − static: error at equal area"
    assert verdicts()["monotonically"] is Verdict.FAILS
    assert verdicts(**dict.fromkeys(names, -0.5))["monotonically"] is Verdict.HOLDS
    assert verdicts(**dict.fromkeys(names, -0.05))["monotonically"] is Verdict.UNDECIDED


def test_the_middle(verdicts):
    better = {"middle − static: error at its best scale": -0.5, "middle: error at its best scale": 0.1}
    assert verdicts(**better)["and"] is Verdict.HOLDS
    assert verdicts(**better, **{"late: error at its best scale": -1.0})["and"] is Verdict.FAILS


def test_the_end_is_unnecessary_where_guidance_without_it_is_as_near(verdicts):
    names = "middle − static: error at its best scale", "late − static: error at its best scale"
    for values, verdict in (
        ((-0.2, 0.5), Verdict.HOLDS),
        ((-0.2, -0.5), Verdict.HOLDS),
        ((0.0, 0.5), Verdict.UNDECIDED),
        ((0.5, 0.5), Verdict.FAILS),
    ):
        assert verdicts(**dict(zip(names, values, strict=True)))["largely"] is verdict


def test_the_records_of_a_run_have_these_names(tmp_path):
    from melies.recipes.guidance.laboratory.run import run_laboratory
    from melies.recipes.guidance.laboratory.settings import LaboratorySettings
    from melies.recipes.job import Job

    settings = LaboratorySettings(
        mixtures=("overlapping",),
        methods=("plain",),
        schedules=("static", "linear", "invlinear", "cosine", "sine"),
        scales=(1.5, 3.0, 8.0),
        steps=8,
        samples=100,
        resamples=20,
    )
    run_laboratory(settings, Job(out=tmp_path), command="melies guidance laboratory")
    judged = judge_parts(["laboratory"], [tmp_path])
    assert {entry.findings["overlapping"].verdict for entry in judged} - {Verdict.UNMEASURED}
    missing = [
        entry.claim.quote
        for entry in judged
        if entry.findings["overlapping"].verdict is Verdict.UNMEASURED
        and "alignment" not in entry.findings["overlapping"].evidence
    ]
    assert missing == []
