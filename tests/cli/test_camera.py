"""`melies camera` draws paths that can be looked at and read again, and measures models."""

import json

import numpy as np
import pytest
import torch
from tests.camera.conftest import TEXT, small

from melies import checkpoint
from melies.camera.clatr import CLaTr, CLaTrConfig
from melies.camera.formats import FORMATS, read_path
from melies.camera.model import CameraDiffusion, CameraDiffusionConfig


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A director and a CLaTr of a few weights, beside one another in the working folder."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = small("modulated", frames=300, patch=10)
    checkpoint.save(tmp_path / "director", CameraDiffusion(CameraDiffusionConfig(network=network, text=TEXT)))
    space = CLaTrConfig(text=TEXT, text_dim=16, dim=16, depth=1, head_dim=16, patch=10, dropout=0.0)
    checkpoint.save(tmp_path / "clatr", CLaTr(space))
    return tmp_path


def test_paths_are_drawn_as_files(run, models):
    words = ("camera", "generate", "The camera trucks right", "left!", "--model", "director")
    done = run(*words, "--frames", "40", "--count", "2", "--character", "walk-right", "--seed", "3", "--json")
    assert done.code == 0, done.err
    takes = done.json["takes"]
    assert [(take["prompt"], take["seed"]) for take in takes] == [
        *(("The camera trucks right", 3), ("The camera trucks right", 4), ("left!", 3), ("left!", 4))
    ]
    assert takes[0]["path"] == "out/camera/the-camera-trucks-right-3.txt"
    path = read_path(models / takes[0]["path"], FORMATS["kitti"])
    assert len(path) == 40
    assert (models / takes[0]["picture"]).read_bytes().startswith(b"\x89PNG")
    told = json.loads((models / "out/camera/left-4.settings.json").read_text())
    assert (told["prompt"], told["seed"], told["settings"]["character"]) == ("left!", 4, "walk-right")
    assert (models / "out/camera/left-4.character.csv").read_text().count("\n") == 41


def test_nothing_is_overwritten_and_the_same_seed_is_the_same_path(run, models):
    words = (
        "camera",
        "generate",
        "left",
        "--model",
        "director",
        "--frames",
        "12",
        "--format",
        "tum",
        "--json",
    )
    first, second = run(*words).json["takes"][0]["path"], run(*words).json["takes"][0]["path"]
    assert (first, second) == ("out/camera/left-0.tum", "out/camera/left-0-2.tum")
    assert (models / first).read_text() == (models / second).read_text()


def test_a_named_file_is_written_and_says_its_format(run, models):
    words = ("camera", "generate", "left", "--model", "director", "--frames", "12", "--steps", "2")
    done = run(*words, "--out", "shots/one.usda", "--json")
    assert [take["path"] for take in done.json["takes"]] == ["shots/one.usda"]
    assert len(read_path(models / "shots/one.usda", FORMATS["usd"])) == 12
    assert {file.name for file in (models / "shots").iterdir()} == {
        *("one.usda", "one.png", "one.character.csv", "one.settings.json")
    }
    again = run(*words, "--out", "shots/one.usda")
    assert again.code == 2
    assert "--overwrite" in again.err
    assert run(*words, "--out", "shots/one.usda", "--overwrite").code == 0
    several = run(*words, "--out", "shots/two.json", "--count", "2", "--format", "nerfstudio", "--json")
    assert [take["path"] for take in several.json["takes"]] == ["shots/two-1.json", "shots/two-2.json"]
    assert len(read_path(models / "shots/two-2.json", FORMATS["nerfstudio"])) == 12


def test_a_shot_is_held_to_what_was_asked_for_and_may_be_long(run, models):
    words = ("camera", "generate", "The camera trucks right", "--model", "director", "--steps", "2")
    held = ("--start=0,-0.3,-4,10,0", "--end=-1,-0.3,-2", "--key", "100=-0.5,0,-3", "--margin", "0.05")
    done = run(*words, *held, "--frames", "400", "--json")
    assert done.code == 0, done.err
    take = done.json["takes"][0]
    path = read_path(models / take["path"], FORMATS["kitti"])
    assert len(path) == 400
    for frame, position in ((0, (0, -0.3, -4)), (100, (-0.5, 0, -3)), (399, (-1, -0.3, -2))):
        assert path.position[frame] == pytest.approx(position, abs=1e-5)
    yaw = np.arctan2(path.world_from_camera[0, 0, 2], path.world_from_camera[0, 2, 2])
    assert np.rad2deg(yaw) == pytest.approx(10, abs=1e-3)
    told = json.loads((models / take["path"]).with_suffix(".settings.json").read_text())
    assert told["settings"]["end"] == "-1,-0.3,-2"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "say what the camera does"),
        (("left", "--frames", "30001"), "frames"),
        (("left", "--start=1,2"), "--start: '1,2' is not a pose"),
        (("left", "--end=1,2,x"), "--end: '1,2,x' is not a pose"),
        (("left", "--key", "150=0,0,-3"), "frame from 0 to 149"),
        (("left", "--key", "0,0,-3"), "is no key"),
        (("left", "--key", "7=0,0"), "--key 7: '0,0' is not a pose"),
        (("left", "--margin", "0.7"), "margin"),
        (("left", "--size", "0"), "size"),
        (("left", "--speed=-1"), "speed"),
        (("left", "--frames", "0"), "frames"),
        (("left", "--character", "walk-rigt"), "walk-right"),
        (("left", "--character", "none.npy"), "none.npy"),
        (("left", "--format", "kity"), "kitti"),
        (("left", "--out", "shot.ply"), ".ply is no format that is known"),
        (("left", "--format", "slahmr"), "only read"),
        (("left", "--model", "clatr"), "not a model of camera paths"),
    ],
)
def test_bad_input_is_said(run, models, words, message):
    done = run("camera", "generate", *(() if "--model" in words else ("--model", "director")), *words)
    assert done.code == 2
    assert message in done.err
    assert not (models / "out").exists()


def test_a_model_is_measured(run, models):
    words = ("camera", "evaluate", "--model", "director", "--clatr", "clatr", "--count", "12", "--pairs", "4")
    done = run(*words, "--steps", "2", "--json")
    assert done.code == 0, done.err
    found = {metric["name"]: metric for metric in done.json["metrics"]}
    for part in ("pure", "mixed"):
        for name in ("C F1", "C precision", "drawn: off-screen", "real: jerk", "FD[clatr]", "coverage"):
            assert f"{part}: {name}" in found or f"{part}, {name}" in found, name
        assert found[f"{part}, real: off-screen"]["value"] < 0.15
        for name in ("shuffled text: C F1", "shuffled characters: C F1", "half size: FD[clatr]"):
            assert f"{part}, {name}" in found, name
        assert f"{part}, shots trained on: FD[clatr]" in found
        assert f"{part}, sentences of the camera alone: CLaTr-score" in found
    assert found["mirrored character, camera follows: lateral motion flips"]["num_samples"] == 4
    record = json.loads((models / "out/camera-evaluation/record.json").read_text())
    assert record["metrics"]
    assert set(record["notes"]["C-F1 by motion"]) == {"pure", "mixed"}


def test_the_slides_are_tried(run, models):
    words = ("camera", "experiments", "--models", "director", "--clatr", "clatr", "--count", "12")
    less = ("--pairs", "4", "--steps", "2", "--scales", "0.6", "1.4", "--out", "tried")
    done = run(*words, *less, "--json")
    assert done.code == 0, done.err
    assert set(done.json["scales"]) == {"0.6", "1.4"}
    assert done.json["scales"]["1.4"] == done.json["models"]["director"]
    page = (models / "tried/experiments.html").read_text()
    assert "guidance" in page
    assert 'src="data:image/png' in page
    for name in ("prompts", "sweep"):
        assert (models / f"tried/{name}.png").read_bytes().startswith(b"\x89PNG")
    assert {file.name for file in (models / "tried/records").iterdir()} == {"director.json", "scale-0.6.json"}
    again = run(*words, *less)
    assert again.code == 2
    assert "--resume" in again.err
    assert run(*words, *less, "--resume", "--json").json["models"] == done.json["models"]
    other = run(*words, *less, "--resume", "--seed", "2")
    assert other.code == 2
    assert "measured in another way" in other.err


def test_paths_are_converted(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "path.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n1 0 0 1 0 1 0 0 0 0 1 0\n")
    done = run("camera", "convert", "path.txt", "path.csv", "--fps", "10", "--json")
    assert done.code == 0, done.err
    assert done.json["frames"] == 2
    assert done.json["seconds"] == pytest.approx(0.1)
    assert len(read_path(tmp_path / "path.csv", FORMATS["csv"])) == 2
    again = run("camera", "convert", "path.txt", "path.csv")
    assert again.code == 2
    assert "--overwrite" in again.err
    bad = run("camera", "convert", "path.txt", "path.csv", "--overwrite", "--from-format", "tum")
    assert bad.code == 2
    assert "path.txt: line 1 has 12 numbers" in bad.err


def test_a_path_is_tagged(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"1 0 0 {0.02 * frame} 0 1 0 0 0 0 1 -3" for frame in range(80)]
    (tmp_path / "path.txt").write_text("\n".join(rows))
    done = run("camera", "tag", "path.txt", "--character", "walk-right", "--out", "path.png")
    assert done.code == 0, done.err
    assert "trucking_right  0–79" in done.out
    assert "move_right" in done.out
    assert (tmp_path / "path.png").is_file()
    told = run("camera", "tag", "path.txt", "--json").json
    assert told["labels"] == [9] * 79
    assert told["segments"] == [{"name": "trucking_right", "start": 0, "end": 79, "label": 9}]
    assert told["caption"].startswith("The camera")
    bad = run("camera", "tag", "none.txt")
    assert bad.code == 2
    assert "none.txt" in bad.err


def test_a_page_is_written_to_look_at_a_path(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"1 0 0 {0.02 * frame} 0 1 0 0 0 0 1 -3" for frame in range(80)]
    (tmp_path / "path.txt").write_text("\n".join(rows))
    done = run("camera", "view", "path.txt", "--character", "still")
    assert done.code == 0, done.err
    assert "trucking right" in (tmp_path / "path.txt.html").read_text()
