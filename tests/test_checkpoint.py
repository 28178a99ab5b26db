"""Checkpoint folders: what is written is what is read, and what is damaged is said."""

import json
import os
from pathlib import Path

import pytest
import torch

from melies import checkpoint
from melies.errors import UserError
from melies.images.codec import CodecConfig, ImageCodec
from melies.images.model import ImageDiffusion, ImageDiffusionConfig
from melies.nn.unet import UNetConfig

CONFIG = CodecConfig(latent_channels=2, widths=(8, 8), encoder_blocks=1, decoder_blocks=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = ImageCodec(CONFIG)
    ema = {name: value + 1 for name, value in model.state_dict().items()}
    return checkpoint.save(
        tmp_path / "model", model, ema=ema, resume={"step": 3, "m": torch.ones(2)}, provenance={"seed": 1}
    )


def test_reading_gives_the_averaged_weights_config_and_provenance(folder):
    loaded = checkpoint.load(folder)
    raw = checkpoint.read_tensors(folder / "weights.safetensors")
    assert loaded.kind == "image-codec"
    assert loaded.config == CONFIG
    assert loaded.provenance == {"seed": 1}
    assert not loaded.model.training
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, raw[name] + 1)
    assert checkpoint.read_resume(folder)["step"] == 3


def test_weights_may_be_read_by_whoever_may_read_the_config(tmp_path):
    before = os.umask(0o022)
    try:
        folder = checkpoint.save(tmp_path / "model", ImageCodec(CONFIG))
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode for path in folder.iterdir()}
    assert modes["weights.safetensors"] == modes["config.json"]
    assert os.name == "nt" or modes["config.json"] & 0o777 == 0o644


def test_a_nested_part_keeps_its_provenance(folder, tmp_path):
    codec = checkpoint.load(folder).model
    network = UNetConfig(channels=2, size=4, widths=(8,), attention=(), head_dim=8, dim=8)
    model = ImageDiffusion(ImageDiffusionConfig(network=network, size=16), codec=codec)
    outer = checkpoint.save(tmp_path / "outer", model, provenance={"seed": 2})
    again = checkpoint.save(tmp_path / "again", checkpoint.load(outer).model, provenance={"seed": 3})
    for loaded, seed in ((checkpoint.load(outer), 2), (checkpoint.load(again), 3)):
        assert loaded.provenance == {"seed": seed}
        assert loaded.parts["codec"].provenance == {"seed": 1}


def test_what_ships_is_half_as_large_and_draws_the_same_within_half_precision(folder, tmp_path):
    small = checkpoint.export(tmp_path / "ship", checkpoint.load(folder))
    assert sorted(p.name for p in small.iterdir()) == ["config.json", "ema.safetensors"]
    a, b = checkpoint.load(folder).model, checkpoint.load(small).model
    x = torch.rand(1, 3, 8, 8)
    assert (small / "ema.safetensors").stat().st_size < (folder / "ema.safetensors").stat().st_size * 0.6
    assert torch.allclose(a.encode(x), b.encode(x), atol=0.05)
    assert next(b.parameters()).dtype == torch.float32


def test_a_run_folder_means_its_newest_checkpoint(tmp_path):
    for samples in (5, 100, 20):
        checkpoint.save(tmp_path / f"checkpoint-{samples}", ImageCodec(CONFIG))
    (tmp_path / "checkpoint-999").mkdir()  # no config: not complete
    assert checkpoint.locate(tmp_path).name == "checkpoint-100"
    (tmp_path / "checkpoint-7-before-tuning").mkdir()
    (tmp_path / ".checkpoint-5.replaced-1").mkdir()
    checkpoint.remove_older(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-100",
        "checkpoint-7-before-tuning",
        "checkpoint-999",
    ]


def test_an_earlier_folder_steps_back_when_it_cannot_be_replaced(folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    rename = Path.rename

    def refuse(self, target):
        if ".writing-" in self.name:
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(UserError, match="cannot be written: Permission denied"):
        checkpoint.save(folder, ImageCodec(CONFIG))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_disk_that_fills_up_inside_the_optimiser_state_is_named(tmp_path, monkeypatch):
    """What torch says of it is the state of its zip writer, which helps nobody."""

    def save(state, file):
        try:
            raise OSError(28, "No space left on device")
        finally:
            raise RuntimeError("unexpected pos 704 vs 598")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        checkpoint.save(tmp_path / "full", ImageCodec(CONFIG), resume={"step": 1})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_earlier_checkpoint(folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="model: cannot be written: No space"):
        checkpoint.save(folder, ImageCodec(CONFIG))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def edit(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "config.json").write_text("{"), "cannot be read as JSON"),
        (lambda f: (f / "config.json").write_text('{"a": 1}'), "not a melies checkpoint"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"), "cannot be read as JSON"),
        (lambda f: edit(f, format=99), "format 99 is not 1"),
        (lambda f: edit(f, kind="image-codek"), "did you mean 'image-codec'"),
        (lambda f: edit(f, parts=["../../etc"]), "not a plain folder name"),
        (lambda f: edit(f, parts="codec"), "'parts' is of the wrong kind"),
        (lambda f: edit(f, kind=["image-codec"]), "'kind' is of the wrong kind"),
        (lambda f: edit(f, provenance=None), "'provenance' is of the wrong kind"),
        (lambda f: edit(f, transforms={"latent": 3}), "expected an object for a transform"),
        (
            lambda f: edit(f, transforms={"latent": {"type": "Standardize", "mean": 0}}),
            "cannot read transform",
        ),
        (
            lambda f: edit(f, transforms={"latent": {"type": "Standardize", "mean": [0], "std": ["x"]}}),
            "cannot read transform",
        ),
        (lambda f: edit(f, config={"chanels": 3}), "did you mean 'channels'"),
        (
            lambda f: (f / "ema.safetensors").write_bytes((f / "ema.safetensors").read_bytes()[:-100]),
            "not a complete",
        ),
        (lambda f: (f / "ema.safetensors").write_bytes(b"PK\x03\x04 a foreign file"), "not a complete"),
        (lambda f: edit(f, config={"latent_channels": 2, "widths": [8, 16]}), "has other shapes for|lacks"),
        (
            lambda f: [(f / n).unlink() for n in ("ema.safetensors", "weights.safetensors")],
            "weights are missing",
        ),
    ],
)
def test_a_damaged_folder_is_one_clear_sentence(folder, damage, said):
    damage(folder)
    with pytest.raises(UserError, match=said):
        checkpoint.load(folder)


def test_an_empty_folder_and_an_unknown_name(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint"):
        checkpoint.load(tmp_path)
    with pytest.raises(UserError, match="no-such-model"):
        checkpoint.load("no-such-model")


def test_resume_runs_no_code(folder):
    class Boom:
        def __reduce__(self):
            return (os.mkdir, (str(folder / "boom"),))

    torch.save({"step": Boom()}, folder / "resume.pt")
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.read_resume(folder)
    assert not (folder / "boom").exists()
