"""The verbs work with every family: a checkpoint and pictures in, pictures and numbers out."""

import json
from pathlib import Path

import pytest
from PIL import Image

from melies import checkpoint
from melies.cli.main import main
from melies.images.families import open_family


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """`run("generate", …) → the JSON object`, in a folder of its own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*argv: str):
        capsys.readouterr()
        code = main([*argv, "--quiet", "--json"])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        return json.loads(printed.out)

    return call


@pytest.fixture
def asked(folder):
    """`--class …` for two pictures, where the model has classes."""
    classes = open_family(folder).model.classes
    return ("--class", classes[0], classes[1]) if classes else ()


def test_it_draws_and_draws_again(run, folder, asked):
    rows = 2 if asked else 1
    few = ("--steps", "2") if checkpoint.load(folder).kind == "image-diffusion" else ()
    drawn = run("generate", "--model", str(folder), "--count", "2", *asked, *few)
    assert len(drawn["pictures"]) == 2 * rows
    last = Path(drawn["pictures"][-1])
    with Image.open(last) as picture:
        assert picture.size == (8, 8)
    again = run("generate", "--from", str(last), "--out", "again")
    assert Path(again["pictures"][0]).read_bytes() == last.read_bytes()


def test_it_rebuilds_and_interpolates(run, folder, asked):
    for number, name in enumerate(("a.png", "b.png")):
        Image.linear_gradient("L").rotate(90 * number).resize((8, 8)).save(name)
    rebuilt = run("reconstruct", str(folder), "a.png", "b.png", *asked)
    assert len(rebuilt["pictures"]) == 2
    assert all(-1 <= entry["ssim"] <= 1 and entry["psnr_db"] > 0 for entry in rebuilt["pictures"])
    assert Path(rebuilt["sheet"]).exists()
    ends = set()
    for mix in ("linear", "spherical"):
        way = run(
            "interpolate", "a.png", "b.png", "--model", str(folder), "--steps", "3", "--mix", mix, *asked
        )
        assert (len(way["pictures"]), way["mix"]) == (3, mix)
        assert Path(way["strip"]).exists()
        ends.add((Path(way["pictures"][0]).read_bytes(), Path(way["pictures"][-1]).read_bytes()))
    assert len(ends) == 1  # only what lies between depends on how it is mixed
