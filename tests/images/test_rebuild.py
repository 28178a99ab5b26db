"""Pictures through a model and back: exactly known for a model that changes nothing, and one that shifts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from melies import checkpoint
from melies.errors import UserError
from melies.images.families import open_family
from melies.images.rebuild import interpolate_files, nearer, reconstruct_files


class Shifting:
    """Latents are pictures; what comes back is lighter by `step` levels of 256."""

    classes: tuple[str, ...] = ()

    def __init__(self, channels: int, step: int = 0, classes: tuple[str, ...] = ()) -> None:
        self.shape = (channels, 8, 8)
        self.step, self.classes, self.asked = step, classes, None

    def encode(self, pixels, labels=None):
        return pixels

    def decode(self, latents, labels=None):
        self.asked = labels
        return latents + self.step * 2 / 255

    def sample(self, num, *, noise, labels=None):
        raise AssertionError("nothing new is drawn")


@pytest.fixture
def through(pixel_model, tmp_path, monkeypatch):
    """`through(channels, step)` puts that model behind every name."""
    family = open_family(checkpoint.save(tmp_path / "model", pixel_model))

    def put(*arguments, **fields):
        model = Shifting(*arguments, **fields)
        monkeypatch.setattr(
            "melies.images.rebuild.open_family", lambda name: replace(family, model=model, mixing="linear")
        )
        return model

    return put


@pytest.fixture
def write(tmp_path):
    """`write("a.png", level)` makes a flat picture; the level may be one of three colours."""

    def make(name: str, level, size=(8, 8)) -> Path:
        mode = "L" if isinstance(level, int) else "RGB"
        Image.new(mode, size, level).save(tmp_path / name)
        return tmp_path / name

    return make


def levels(path: Path) -> list[int]:
    with Image.open(path) as picture:
        return np.unique(np.asarray(picture.convert("L"))).tolist()


def test_what_comes_back_is_measured_and_written(through, write, tmp_path):
    through(1, step=10)
    sources = [write("a.png", 100), write("b.png", 200)]
    report = reconstruct_files("model", sources, tmp_path / "out")
    assert [levels(entry.picture) for entry in report.rebuilt] == [[110], [210]]
    expected = 20 * np.log10(255 / 10)  # dB of a difference of ten levels everywhere
    assert [entry.psnr_db for entry in report.rebuilt] == pytest.approx([expected] * 2, abs=0.02)
    assert all(entry.ssim < 1 for entry in report.rebuilt)
    assert {100, 110, 200, 210} <= set(levels(report.sheet))
    assert report.notes == ()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a-rebuilt.png",
        "b-rebuilt.png",
        "reconstructions.png",
    ]


def test_equal_pictures_have_a_finite_quality(through, write, tmp_path):
    through(1)
    (entry,) = reconstruct_files("model", [write("a.png", 100)], tmp_path / "out").rebuilt
    assert (entry.psnr_db, entry.ssim) == (100, pytest.approx(1))


def test_nothing_is_overwritten(through, write, tmp_path):
    through(1)
    source = write("a.png", 100)
    first = reconstruct_files("model", [source], tmp_path).rebuilt[0].picture
    assert reconstruct_files("model", [source], tmp_path).rebuilt[0].picture == first
    through(1, step=5)
    assert reconstruct_files("model", [source], tmp_path).rebuilt[0].picture.name == "a-rebuilt-2.png"
    assert levels(first) == [100]


@pytest.mark.parametrize(
    ("channels", "level", "size", "said"),
    [
        (1, 100, (16, 16), ["16×16 was resized to 8×8"]),
        (1, 100, (16, 10), ["16×10 was cropped and resized to 8×8"]),
        (1, (9, 90, 200), (8, 8), ["the model draws grey, and colour was left out"]),
        (3, 100, (8, 8), ["is grey, and the model draws in colour"]),
        (3, (50, 50, 50), (8, 8), ["is grey, and the model draws in colour"]),
        (3, (9, 90, 200), (8, 8), []),
        (1, 100, (8, 8), []),
    ],
)
def test_what_is_done_to_a_picture_is_said(through, write, tmp_path, channels, level, size, said):
    through(channels)
    source = write("a.png", level, size)
    report = reconstruct_files("model", [source], tmp_path / "out")
    assert [note.removeprefix(f"{source}: ") for note in report.notes] == said


def test_too_many_pairs_have_no_sheet(through, write, tmp_path, monkeypatch):
    through(1)
    monkeypatch.setattr("melies.images.rebuild.MAX_SHEET_PIXELS", 100)
    report = reconstruct_files("model", [write("a.png", 1)], tmp_path / "out")
    assert report.sheet is None
    assert "too many for one sheet" in report.notes[0]


def test_the_way_has_even_steps_and_both_ends(through, write, tmp_path):
    through(1)
    report = interpolate_files("model", write("a.png", 40), write("b.png", 80), tmp_path / "out", num_steps=5)
    assert [levels(path) for path in report.pictures] == [[40], [50], [60], [70], [80]]
    assert [path.name for path in report.pictures] == [f"a-to-b-{i:02d}.png" for i in range(5)]
    assert report.strip.name == "a-to-b.png"
    assert {40, 50, 60, 70, 80} <= set(levels(report.strip))
    assert report.mixing == "linear"  # the family's own


def test_the_way_may_be_chosen(through, write, tmp_path):
    through(1)
    a, b = write("a.png", 0), write("b.png", 255)  # opposite latents of one length, so no single circle
    report = interpolate_files("model", a, b, tmp_path / "out", num_steps=3, mixing="spherical")
    assert (report.mixing, levels(report.pictures[1])) == ("spherical", [128])
    with pytest.raises(UserError, match="did you mean 'linear'"):
        interpolate_files("model", a, b, tmp_path / "out", mixing="lines")


def test_on_the_way_the_nearer_class_is_asked_for(through, write, tmp_path):
    model = through(1, classes=("bag", "coat"))
    a, b = write("a.png", 40), write("b.png", 80)
    interpolate_files("model", a, b, tmp_path / "out", num_steps=5, classes=["coat", "bag"])
    assert model.asked.tolist() == [1, 1, 1, 0, 0]
    assert nearer(torch.tensor([1, 0]), 4).tolist() == [1, 1, 0, 0]
    with pytest.raises(UserError, match="--class bag"):
        interpolate_files("model", a, b, tmp_path / "out")


def test_what_cannot_be_read_is_named(through, write, tmp_path):
    through(1)
    (tmp_path / "words.png").write_text("no picture")
    with pytest.raises(UserError, match=r"words\.png"):
        reconstruct_files("model", [tmp_path / "words.png"], tmp_path / "out")
    with pytest.raises(UserError, match="cannot be read"):
        reconstruct_files("model", [tmp_path / "absent.png"], tmp_path / "out")
    with pytest.raises(UserError, match="no pictures given"):
        reconstruct_files("model", [], tmp_path / "out")
