"""`melies guidance laboratory`: what it says, what it writes, what it refuses."""

from pathlib import Path

from melies.report.record import read_record

SMALL = ("--schedules", "static", "linear", "--scales", "1.5", "3", "--steps", "8", "--samples", "100")


def test_a_small_laboratory(run):
    ask = (
        "guidance",
        "laboratory",
        "--mixtures",
        "line",
        "--methods",
        "plain",
        "rescaled",
        "--resamples",
        "20",
    )
    done = run(*ask, *SMALL, "--brief", "--out", "there", "--json")
    found = done.json
    assert {(row["method"], row["schedule"]) for row in found["mixtures"]["line"]} == {
        ("plain", name) for name in ("static", "linear", "early", "middle", "late")
    }
    assert list(found["left_out"]["line"]) == ["rescaled static 1.5", "rescaled static 3"]
    assert "note: 2 combinations do not go together" in done.err
    record = read_record(Path("there/records/line/laboratory.json"))
    assert record.data["set"] == "line"
    assert record.metric("linear: error at equal area").num_samples == 100
    assert all(Path(path).exists() for path in found["figures"])


def test_what_the_laboratory_cannot_do(run):
    ask = ("guidance", "laboratory", "--quiet")
    assert "cannot guide by 'smoothed'" in run(*ask, "--methods", "plain", "smoothed").error
    assert "add 5 to --scales" in run(*ask, "--tilt", "5", "--scales", "2", "3").error
    assert "did you mean 'line'" in run(*ask, "--mixtures", "lines").error
