"""Shipping a run: small, complete, readable, and the card stays."""

from pathlib import Path

import pytest

from melies import checkpoint
from melies.errors import UserError
from melies.images.codec import CodecConfig, ImageCodec
from melies.images.model import ImageDiffusion, ImageDiffusionConfig
from melies.models import check_digests
from melies.nn.transformer import TransformerConfig
from melies.recipes import ship as ship_module
from melies.recipes.ship import main, ship


def test_a_run_is_shipped_and_shipped_again(tmp_path):
    model = ImageCodec(CodecConfig(latent_channels=2, widths=(8,)))
    checkpoint.save(tmp_path / "run" / "checkpoint-10", model, ema=model.state_dict(), resume={"x": 1})
    folder = ship(tmp_path / "run", "mine", into=tmp_path / "models")
    assert sorted(p.name for p in folder.iterdir()) == ["SHA256SUMS", "config.json", "ema.safetensors"]
    (folder / "card.md").write_text("# mine\n\nA codec.\n")
    ship(tmp_path / "run", "mine", into=tmp_path / "models")
    assert (folder / "card.md").read_text().startswith("# mine")
    assert check_digests(folder) == 3
    assert checkpoint.load(folder).config == model.config
    assert [p.name for p in folder.parent.iterdir()] == ["mine"]


@pytest.fixture
def run(tmp_path) -> Path:
    """A run folder."""
    model = ImageCodec(CodecConfig(latent_channels=2, widths=(8,)))
    checkpoint.save(tmp_path / "run" / "checkpoint-10", model, ema=model.state_dict())
    return tmp_path / "run"


def test_what_ships_says_where_it_and_its_parts_come_from(run, tmp_path):
    """Through every hand: a codec's run, the model trained on it, what ships of that, and of that again."""
    codec = {"recipe": "emoji-codec", "samples_seen": 10}
    checkpoint.save(run / "checkpoint-20", checkpoint.load(run).model, provenance=codec)
    network = TransformerConfig(channels=2, size=4, dim=16, depth=1, head_dim=8, num_classes=1)
    model = ImageDiffusion(
        ImageDiffusionConfig(network=network, size=8, classes=("a",)), codec=checkpoint.load(run).model
    )
    outer = {"recipe": "emoji", "start_from": "other@0123456789ab"}
    checkpoint.save(tmp_path / "outer" / "checkpoint-5", model, provenance=outer)
    shipped = ship(tmp_path / "outer", "mine", into=tmp_path / "models")
    again = ship(shipped, "again", into=tmp_path / "models")
    for folder in (shipped, again):
        loaded = checkpoint.load(folder)
        assert loaded.provenance == outer
        assert loaded.parts["codec"].provenance == codec


def test_what_a_killed_run_left_comes_back(run, tmp_path):
    folder = ship(run, "mine", into=tmp_path / "models")
    (folder / "records").mkdir()
    (folder / "records" / "a.json").write_text("{}")
    (folder / "card.md").write_text("the only copy")
    folder.rename(folder.with_name(".mine.kept"))
    ship(run, "mine", into=tmp_path / "models")
    assert (folder / "card.md").read_text() == "the only copy"
    assert (folder / "records" / "a.json").read_text() == "{}"
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("limit", "what"), [("MAX_MODEL_BYTES", "the model 'mine'"), ("MAX_BYTES", "all models together")]
)
def test_what_is_too_large_replaces_nothing(run, tmp_path, monkeypatch, capsys, limit, what):
    folder = ship(run, "mine", into=tmp_path / "models")
    (folder / "card.md").write_text("a card")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(ship_module, limit, 1_000)
    monkeypatch.setattr(ship_module, "shipped_folder", lambda: tmp_path / "models")
    with pytest.raises(UserError, match=f"{what} would take"):
        ship(run, "mine", into=tmp_path / "models")
    assert main([str(run), "mine"]) == 2
    assert what in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


def test_without_arguments_it_says_how_it_is_used(capsys):
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("usage: python -m melies.recipes.ship RUN NAME")
