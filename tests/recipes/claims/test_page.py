"""Claims of a part, read from folders of records, as rows and as a page; and the table of claims itself."""

import pytest

from melies.errors import UserError
from melies.interfaces import Metric
from melies.recipes.claims import PARTS
from melies.recipes.claims.claim import Verdict
from melies.recipes.claims.page import judge_parts, read_part, read_sets, verdict_cells, write_claims
from melies.report.record import Record, write_record


def write(folder, rung, data=None, **metrics):
    made = tuple(Metric(name, low, "", False, 50, (low, low + 0.1), 0) for name, low in metrics.items())
    write_record(folder / f"{rung}.json", Record(name=rung, metrics=made, data=data or {}))


@pytest.fixture
def sets(tmp_path):
    """Two sets: on one the VAE beats the autoencoder, on the other it does not."""
    for name, better in (("clothes", 1.0), ("digits", 9.0)):
        write(tmp_path / name, "autoencoder", FD=5.0)
        write(tmp_path / name, "vae", FD=better)
    return tmp_path


def row(judged, quote):
    cells = verdict_cells(judged)
    return dict(zip(cells.header, next(row for row in cells.rows if row[0].startswith(quote)), strict=True))


def test_each_set_has_its_own_verdict(sets):
    found = row(judge_parts(["ladder"], [sets]), "Limited capacity")
    assert (found["clothes"], found["digits"]) == ("holds", "does not hold")


def test_what_needs_no_records_is_the_same_for_all(sets):
    judged = judge_parts(["ladder"], [sets])
    assert row(judged, "(“Shortcut”)")["digits"] == row(judged, "(“Shortcut”)")["clothes"] == "holds"
    assert row(judged, "Sampled Results on ImageNet")["digits"] == "not testable here"


def test_a_ladder_folder_stands_for_its_records(tmp_path):
    write(tmp_path / "run" / "records", "vae", data={"set": "my-flowers"}, FD=1.0)
    write(tmp_path / "run" / "runs", "vae", FD=7.0)
    assert {name: list(found) for name, found in read_sets(tmp_path / "run").items()} == {
        "my-flowers": ["vae"]
    }


def test_without_records_nothing_is_measured_yet(tmp_path):
    verdicts = {
        finding.verdict
        for entry in judge_parts(["ladder"], [tmp_path])
        for finding in entry.findings.values()
    }
    assert verdicts == {Verdict.UNMEASURED, Verdict.UNTESTABLE, Verdict.HOLDS, Verdict.FAILS}
    with pytest.raises(UserError, match="no such folder"):
        judge_parts(["ladder"], [tmp_path / "absent"])


def test_broken_records_are_named(tmp_path):
    (tmp_path / "vae.json").write_text("{}")
    with pytest.raises(UserError, match=r"vae\.json"):
        read_sets(tmp_path)


def test_the_page_shows_every_quote_with_its_numbers_and_command(sets, tmp_path):
    judged = judge_parts(["ladder"], [sets])
    text = write_claims(tmp_path / "claims.html", judged).read_text()
    for entry in judged:
        assert entry.claim.quote.replace('"', "&quot;").replace("'", "&#x27;") in text
    assert "FD of autoencoder 5.000 [5.000, 5.100] against FD of vae 1.000 [1.000, 1.100]" in text
    assert "Command: melies ladder" in text
    assert "http" not in text.replace("http-equiv", "")


@pytest.mark.parametrize("name", PARTS)
def test_every_part_is_whole(name):
    part = read_part(name)
    quotes = [claim.quote for claim in part.claims]
    assert len(set(quotes)) == len(quotes) > 0
    for claim in part.claims:
        assert claim.test
        assert bool(claim.command) == (claim.rule is not None and claim.measured), claim.quote


def test_a_part_that_is_not_there_is_said():
    with pytest.raises(UserError, match="did you mean 'ladder'"):
        judge_parts(["lader"])
