"""Every family is measured by the same yardstick: the same distances to the same pictures, the same judge."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from melies import checkpoint
from melies.autoencoders.quantize import FiniteScalarConfig
from melies.autoencoders.vqvae import VQVAE, VQVAEConfig
from melies.errors import UserError
from melies.images.classifier import ClassifierConfig, Head, ImageClassifier
from melies.images.evaluate import EvaluateSettings, evaluate_files
from melies.images.families import open_family
from melies.report.record import read_record

from .conftest import CLASSES

REBUILT = {"PSNR", "SSIM", "train/test gap"}
OWN = {
    "autoencoder": REBUILT,
    "vae": REBUILT | {"active units", "active share", "KL", "−ELBO", "NLL"},
    "vqvae": REBUILT | {"codebook usage", "codebook perplexity"},
    "gan": set(),
    "image-diffusion": set(),
}
"""What a family tells of itself, by its kind."""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Stripes in three directions, a class each, in two parts."""
    folder = tmp_path_factory.mktemp("data")
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 4), ("test", 8)):
        for number, name in enumerate(CLASSES):
            place = folder / split / name
            place.mkdir(parents=True)
            for i in range(count):
                levels = torch.randint(256, (8,), generator=generator).expand(8, 8)
                picture = Image.fromarray(levels.to(torch.uint8).numpy()).rotate(45 * number)
                picture.save(place / f"{i}.png")
    return folder


@pytest.fixture(autouse=True)
def judge(tmp_path, monkeypatch) -> Path:
    """A judge of such pictures is here; it has learned nothing."""
    monkeypatch.setenv("MELIES_MODELS", str(tmp_path / "models"))
    heads = (Head(name="class", classes=CLASSES),)
    config = ClassifierConfig(heads=heads, size=8, channels=1, stem=1, widths=(8,), feature_dim=4)
    model = ImageClassifier(config)
    with torch.no_grad():  # the same whatever it sees, so that it is right of a third
        model.heads["class"].weight.zero_()
        model.heads["class"].bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    return checkpoint.save(tmp_path / "models" / "stripes-judge", model)


def test_it_is_measured(folder, data, tmp_path):
    family = open_family(folder)
    settings = EvaluateSettings(
        model=str(folder),
        data=data,
        count=24,
        steps=2,
        scales=(1.0, 2.0),
        features="pixels",
        judge=None if family.model.classes else "stripes-judge",
    )
    guided = family.loaded.kind == "image-diffusion" and bool(family.model.classes)
    record = evaluate_files(settings, tmp_path / "out")
    distances = [metric.name for metric in record.metrics if "floor" not in metric.name][:6]
    assert distances[:2] == ["FD[8×8 pixels]", "KD[8×8 pixels]"]
    assert distances[2:] == ["precision", "recall", "density", "coverage"]
    assert record.data == {"reference": "test pictures", "real": 24, "test": 24}
    assert record.notes["judge"].startswith("stripes-judge@")
    asked = record.find("class, test: drawn")
    assert asked is None or asked.value == pytest.approx(1 / 3)
    assert (asked is not None) == bool(family.model.classes)
    for name, value in (("least frequent class", 0.0), ("class entropy", 0.0), ("is", 1.0)):
        assert record.metric(name).value == record.metric(f"{name}, real").value == value
    for name in ("vendi", "cosine diversity", "euclidean diversity"):
        assert record.metric(f"{name} real").num_samples == 24
    for name in ("copied", "distance to training, generated ÷ held out", "high-frequency power"):
        assert record.metric(name)
    assert OWN[family.loaded.kind] <= {metric.name.partition(",")[0] for metric in record.metrics}
    written = {"record.json", "test.png", "neighbours.png"}
    written |= {"scale-1.json", "scale-2.json"} if guided else set()
    assert {path.name for path in (tmp_path / "out").iterdir()} == written
    assert read_record(tmp_path / "out" / "record.json").metrics == record.metrics
    assert record.name.endswith(("scale 1", "scale 2")) == guided


def test_a_vqvae_without_a_prior_is_measured_by_its_reconstructions(data, tmp_path):
    config = VQVAEConfig(channels=1, size=8, widths=(16,), quantizer=FiniteScalarConfig(levels=(4, 4)))
    folder = checkpoint.save(tmp_path / "codes", VQVAE(config))
    settings = EvaluateSettings(
        model=str(folder), data=data, count=24, features="pixels", judge="stripes-judge"
    )
    said: list[str] = []
    record = evaluate_files(settings, tmp_path / "out", say=said.append)
    assert "codes does not draw by itself: its reconstructions are measured" in said
    assert record.notes["measured"].startswith("reconstructions")
    assert record.metric("codebook usage").value > 0
    assert not record.find("class, test: drawn")


def test_without_data_it_must_be_told_what_it_has_learned(folder, monkeypatch):
    for name in ("MELIES_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"does not say which pictures it has learned; give --data PATH"):
        evaluate_files(EvaluateSettings(model=str(folder)), Path("out"))
