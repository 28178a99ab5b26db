"""Shipping a run: small, complete, readable, and the card stays."""

from melies import checkpoint
from melies.images.codec import CodecConfig, ImageCodec
from melies.models import check_digests
from melies.recipes.ship import ship


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
