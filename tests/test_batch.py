"""Every piece is done once, whatever becomes of others."""

import importlib
import json
import sys

import pytest

from melies.batch import BatchConfig, Piece, run_batch
from melies.errors import UserError

WORK = """
import os, signal
from pathlib import Path
from melies.errors import UserError

def double(argument):
    number, log = argument
    with Path(log).open("a") as target:
        target.write(f"{number}\\n")
    if number == 3:
        raise UserError("three is not to be doubled", where="here")
    if number == 4:
        raise RuntimeError("a bug")
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"twice": 2 * number}
"""


@pytest.fixture
def double(tmp_path, monkeypatch):
    """Twice a number; what is wrong with it is told in several ways. Other processes can import it."""
    (tmp_path / "doubling_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "doubling_work", raising=False)
    return importlib.import_module("doubling_work").double


def pieces(numbers, log):
    return [Piece(f"n-{number}", "settings", (number, str(log))) for number in numbers]


@pytest.mark.parametrize("workers", [1, 2])
def test_failures_are_recorded_and_nothing_is_done_twice(tmp_path, double, workers):
    log, said = tmp_path / "log", []
    config = BatchConfig(workers=workers)
    asked = pieces([1, 2, 3, 4], log)
    found = run_batch(asked, double, tmp_path / "out", config, say=said.append)
    assert [one.state for one in found] == ["done", "done", "failed", "failed"]
    assert [one.result for one in found] == [{"twice": 2}, {"twice": 4}, None, None]
    assert found[2].error == "here: three is not to be doubled"
    assert found[3].error == "RuntimeError: a bug"
    assert sorted(said) == [f"n-3: {found[2].error}", f"n-4: {found[3].error}"]
    note = json.loads((tmp_path / "out/n-4.json").read_text())
    assert "in double" in note["trace"]
    again = run_batch([*asked, *pieces([6], log)], double, tmp_path / "out", config)
    assert [one.before for one in again] == [True, True, True, True, False]
    assert sorted(log.read_text().split()) == ["1", "2", "3", "4", "6"]
    tried = run_batch(asked, double, tmp_path / "out", BatchConfig(workers=workers, retry=True))
    assert [one.before for one in tried] == [True, True, False, False]


def test_other_settings_and_a_damaged_file_are_done_anew(tmp_path, double):
    log = tmp_path / "log"
    run_batch(pieces([1, 2], log), double, tmp_path / "out")
    (tmp_path / "out/n-2.json").write_text("{")
    other = [Piece("n-1", "other settings", (1, str(log))), *pieces([2], log)]
    assert [one.before for one in run_batch(other, double, tmp_path / "out")] == [False, False]


def test_a_process_that_dies_takes_no_other_piece_along(tmp_path, double):
    found = run_batch(
        pieces([1, 5, 2, 6, 7], tmp_path / "log"), double, tmp_path / "out", BatchConfig(workers=2)
    )
    assert [one.state for one in found] == ["done", "failed", "done", "done", "done"]
    assert found[1].error == "the process that worked on it died"


def test_ray_does_the_same(tmp_path, double):
    pytest.importorskip("ray")
    found = run_batch(
        pieces([1, 3, 2], tmp_path / "log"), double, tmp_path / "out", BatchConfig(workers=2, ray=True)
    )
    assert [one.state for one in found] == ["done", "failed", "done"]


def test_names_are_plain_and_different(tmp_path, double):
    for names in (("a/b",), ("..",), ("",), ("a", "a")):
        with pytest.raises(UserError, match=r"plain name|are called"):
            run_batch([Piece(name, "", None) for name in names], double, tmp_path)
