"""`melies claims`: a table, a page and JSON, with or without records."""

from pathlib import Path

from melies.interfaces import Metric
from melies.report.record import Record, write_record


def test_claims_are_judged_and_written(run):
    for rung, low in (("autoencoder", 5.0), ("vae", 1.0)):
        metric = Metric("FD", low, "", False, 50, (low, low + 0.5), 0)
        write_record(Path("records") / f"{rung}.json", Record(name=rung, metrics=(metric,)))
    done = run("claims", "ladder", "--records", "records", "--out", "page.html", "--json").json
    assert Path("page.html").exists()
    (claim,) = [entry for entry in done["claims"] if entry["quote"].startswith("Limited capacity")]
    assert claim["findings"]["records"]["verdict"] == "holds"
    shown = run("claims", "--records", "records", "--out", "page.html")
    assert shown.code == 0
    assert "Limited capacity of generating new data" in shown.out
    assert "not testable here" in shown.out
    assert shown.out.rstrip().endswith("the page is page.html")


def test_a_part_or_folder_that_is_not_there_is_one_line(run):
    assert "did you mean 'ladder'" in run("claims", "ladde").error
    assert "no such folder" in run("claims", "--records", "absent").error
