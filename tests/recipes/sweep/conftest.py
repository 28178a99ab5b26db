"""A class-conditional toy that draws in milliseconds, its pictures, and a judge of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from melies import checkpoint
from melies.images.classifier import ClassifierConfig, Head, ImageClassifier
from melies.images.model import ImageDiffusion, ImageDiffusionConfig
from melies.metrics import measure
from melies.nn.unet import UNetConfig
from melies.recipes.sweep.settings import SweepSettings

CLASSES = ("left", "right")


@pytest.fixture(scope="session")
def toy_folders(tmp_path_factory, write_halves: Callable[..., Path]) -> tuple[Path, Path, Path]:
    """Model, pictures, judge: of halves, of which one or the other is bright."""
    root = tmp_path_factory.mktemp("toy")
    data = write_halves(root / "halves", count=40)
    torch.manual_seed(0)
    shape = {"channels": 1, "size": 8, "widths": (8,), "blocks": 1, "attention": (8,), "head_dim": 8}
    network = UNetConfig(**shape, dim=16, num_classes=2)
    config = ImageDiffusionConfig(network=network, size=8, channels=1, sigma_data=0.5, classes=CLASSES)
    model = ImageDiffusion(config)
    with torch.no_grad():  # a fresh network predicts zero, whatever it is asked
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape))
    folder = checkpoint.save(root / "model", model, ema=model.state_dict())
    heads = (Head(name="class", classes=CLASSES),)
    judge = ImageClassifier(
        ClassifierConfig(heads=heads, size=8, channels=1, stem=1, widths=(8,), feature_dim=4)
    )
    with torch.no_grad():
        judge.heads["class"].weight.mul_(20)
    return folder, data, checkpoint.save(root / "judge", judge)


@pytest.fixture
def toy(toy_folders: tuple[Path, Path, Path], monkeypatch, tmp_path) -> Callable[..., SweepSettings]:
    """`toy(scales=(1.0, 3.0)) → settings` of a sweep of that model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MELIES_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("MELIES_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("melies.recipes.sweep.measure.RESAMPLES", 10)  # intervals have tests of their own
    for name in ("frechet_replicates", "bootstrap"):
        whole = getattr(measure, name)
        monkeypatch.setattr(
            measure,
            name,
            lambda *args, _whole=whole, **fields: _whole(*args, **{**fields, "num_resamples": 10}),
        )
    model, data, judge = map(str, toy_folders)
    usual = {"model": model, "data": Path(data), "judge": judge, "features": judge}

    def settings(**fields) -> SweepSettings:
        few = {"seeds": 24, "steps": (4,), "scales": (1.0, 3.0), "batch": 24}
        return SweepSettings(**{**usual, **few, **fields})

    return settings
