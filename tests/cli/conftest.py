"""The command in this process, folders of its own, and a model small enough to draw at once."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from melies.errors import UserError


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """The one object on standard output."""
        assert len(self.out.splitlines()) == 1, self.out
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line on the error stream."""
        assert len(self.err.splitlines()) == 1, self.err
        return self.err.strip()


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    """Nothing of the user's is read or written, and relative paths land in the test's folder."""
    monkeypatch.setenv("MELIES_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    for name in ("MELIES_DATA", "MELIES_DEBUG", "COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)


@pytest.fixture
def run(capsys):
    """`run("generate", "--count", "3") → Done`."""
    from melies.cli.main import main

    def call(*argv: str) -> Done:
        capsys.readouterr()
        code = main(list(argv))
        printed = capsys.readouterr()
        return Done(code, printed.out, printed.err)

    return call


@pytest.fixture
def tiny_model(tmp_path) -> Path:
    """A class-conditional model of 8×8 pixels, as a run folder with one checkpoint."""
    import torch

    from melies import checkpoint
    from melies.images.model import ImageDiffusion, ImageDiffusionConfig
    from melies.nn.transformer import TransformerConfig

    torch.manual_seed(0)
    network = TransformerConfig(channels=3, size=8, patch=4, dim=16, depth=1, head_dim=8, num_classes=2)
    model = ImageDiffusion(
        ImageDiffusionConfig(network=network, size=8, sigma_data=0.5, classes=("cat", "dog"))
    )
    with torch.no_grad():
        for parameter in model.parameters():  # a fresh network predicts zero, whatever it is asked
            parameter.add_(0.1 * torch.randn(parameter.shape))
    folder = tmp_path / "runs" / "pets"
    checkpoint.save(
        folder / "checkpoint-64",
        model,
        ema=model.state_dict(),
        resume={"samples_seen": 64},
        provenance={"recipe": "pets", "samples_seen": 64},
    )
    return folder


@pytest.fixture
def foreign_text(tmp_path, monkeypatch) -> Path:
    """A model of words whose encoder is nowhere here, and no network; what is asked of the hub is kept."""
    import torch

    from melies import checkpoint
    from melies.images.codec import CodecConfig, ImageCodec
    from melies.images.model import ImageDiffusion, ImageDiffusionConfig
    from melies.nn.transformer import TransformerConfig
    from melies.text.config import TextConfig
    from melies.transform import Standardize

    torch.manual_seed(0)
    network = TransformerConfig(channels=4, size=4, dim=16, depth=1, head_dim=8, text_dim=384)
    model = ImageDiffusion(
        ImageDiffusionConfig(
            network=network, size=16, text=TextConfig(name="minilm", hub="somebody/encoder", dim=384)
        ),
        codec=ImageCodec(CodecConfig(latent_channels=4, widths=(8, 16), decoder_blocks=1)),
        transforms={"latent": Standardize(mean=(0.0,) * 4, std=(1.0,) * 4)},
    )

    def download(hub, *, say):
        say(f"downloading {hub}")
        raise UserError("downloading failed: no network", where=hub)

    monkeypatch.setattr("melies.text.weights.download", download)
    return checkpoint.save(tmp_path / "foreign", model)


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Six captioned pictures in two sizes, in the imagefolder convention."""
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    rows = []
    for i in range(6):
        Image.new("RGB", (16, 16) if i < 4 else (20, 12), (40 * i, 200 - 30 * i, 90)).save(
            folder / f"{i}.png"
        )
        rows.append({"file_name": f"{i}.png", "text": f"a patch of colour {i}", "subcategory": "patch"})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
