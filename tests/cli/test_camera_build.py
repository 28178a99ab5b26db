"""`melies camera dataset build` says what is wrong with a video, and leaves a report."""

import json

import pytest
from tests.camera.conftest import write_film

pytest.importorskip("av")


def test_cuts_everywhere_leave_nothing_and_say_so(run, tmp_path, monkeypatch):
    pytest.importorskip("scenedetect")
    monkeypatch.chdir(tmp_path)
    write_film(tmp_path / "cuts.mp4", (30, 30, 30))
    done = run("camera", "dataset", "build", "cuts.mp4", "--out", "et", "--detector", "scenedetect")
    assert done.code == 2
    assert "none of 3 shots takes from 2.4 to 40 s" in done.err
    note = json.loads((tmp_path / "et/videos/cuts.json").read_text())
    assert note["state"] == "failed"


def test_who_gives_nothing_to_find_people_by_is_told(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_film(tmp_path / "film.mp4", (80,))
    (tmp_path / "film.txt").write_text("0 79\n")
    done = run("camera", "dataset", "build", "film.mp4", "--out", "et", "--shots", ".")
    assert done.code == 2
    assert "nothing says where the character is" in done.err
    done = run("camera", "dataset", "build", "--out", "et2")
    assert "there is no video" in done.err
