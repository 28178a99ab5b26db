"""What a run says of where it comes from."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from melies import checkpoint
from melies.errors import UserError
from melies.files import file_sha256
from melies.images.codec import CodecConfig, ImageCodec
from melies.recipes.job import Job


@pytest.fixture
def start(tmp_path) -> Path:
    """The run folder of a model to start from."""
    model = ImageCodec(CodecConfig(latent_channels=2, widths=(8,)))
    checkpoint.save(tmp_path / "first" / "checkpoint-64", model, ema=model.state_dict())
    return tmp_path / "first"


def test_a_run_that_starts_from_a_model_names_it_and_its_weights(start, tmp_path, monkeypatch):
    digest = file_sha256(start / "checkpoint-64" / "ema.safetensors")[:12]
    expected = {"recipe": "toy", "num_pictures": 3, "start_from": f"first/checkpoint-64@{digest}"}
    monkeypatch.chdir(start / "checkpoint-64")
    for name in (str(start), str(start / "checkpoint-64"), "../../first", "."):  # and no path of the machine
        assert Job(out=tmp_path / "run", start_from=name).provenance("toy", num_pictures=3) == expected
    (start / "checkpoint-64").rename(tmp_path / "brought")
    assert checkpoint.origin(tmp_path / "brought") == f"brought@{digest}"


def test_a_run_from_nothing_names_no_model(tmp_path):
    assert Job(out=tmp_path / "run").provenance("toy") == {"recipe": "toy"}


def test_a_run_that_goes_on_keeps_the_model_it_began_with(start, tmp_path):
    job = Job(out=tmp_path / "run", start_from=str(start))
    model = checkpoint.load(start).model
    checkpoint.save(job.out / "checkpoint-16", model, provenance=job.provenance("toy"))
    began = job.provenance("toy")["start_from"]
    with torch.no_grad():
        next(model.parameters()).add_(1)
    checkpoint.save(start / "checkpoint-128", model)  # the other run went on meanwhile
    for again in (replace(job, resume=True), replace(job, resume=True, start_from=None)):
        assert again.provenance("toy")["start_from"] == began
    checkpoint.save(tmp_path / "plain" / "checkpoint-16", model, provenance={"recipe": "toy"})
    late = replace(job, out=tmp_path / "plain", resume=True)
    assert "start_from" not in late.provenance("toy")
    assert checkpoint.origin(start).startswith("first/checkpoint-128@")
    assert checkpoint.origin(start) != began


@pytest.mark.parametrize(
    ("environment", "printed"),
    [
        ({}, "hello\n"),
        ({"WORLD_SIZE": "1", "RANK": "7"}, "hello\n"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "hello\n"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, ""),
    ],
)
def test_of_several_processes_the_first_speaks(tmp_path, monkeypatch, capsys, environment, printed):
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    Job(out=tmp_path).say("hello")
    assert capsys.readouterr().out == printed


def test_a_model_that_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match="there is no model 'nothing'"):
        Job(out=tmp_path / "run", start_from="nothing").provenance("toy")


class TestReading:
    @pytest.fixture
    def folder(self, tmp_path):
        for name, level in (("dark", 20), ("light", 220)):
            (tmp_path / "set" / name).mkdir(parents=True)
            for i in range(2):
                Image.new("L", (8, 8), level + i).save(tmp_path / "set" / name / f"{i}.png")
        return tmp_path / "set"

    def test_a_folder_is_read_and_pictures_in_memory_are_taken_as_they_are(self, folder, tmp_path):
        read = Job(out=tmp_path, data=folder).read("digits", size=8, channels=1)
        assert (read.classes, tuple(read.pixels.shape)) == (("dark", "light"), (4, 1, 8, 8))
        assert Job(out=tmp_path, pictures=read).read("digits", size=8, channels=1) is read

    def test_pictures_in_memory_are_checked_too(self, folder, tmp_path):
        read = Job(out=tmp_path, data=folder).read("digits", size=8, channels=1)
        one = Job(out=tmp_path, pictures=replace(read.subset([0, 1]), labels=None, classes=()))
        with pytest.raises(UserError, match="one class, 'dark'"):
            one.read("digits", size=8, channels=1)
        assert len(one.read("digits", size=8, channels=1, classes=False)) == 2
        with pytest.raises(ValueError, match="size=16"):
            Job(out=tmp_path, pictures=read).read("digits", size=16, channels=1)

    def test_a_set_that_is_to_be_brought_is_asked_for(self, folder, tmp_path):
        assert Job(out=tmp_path, data=folder).brought("CelebA") == folder
        with pytest.raises(UserError, match="CelebA is not something that melies brings; give --data PATH"):
            Job(out=tmp_path).brought("CelebA")
        with pytest.raises(UserError, match="no such file or folder"):
            Job(out=tmp_path, data=tmp_path / "absent").brought("CelebA")
