"""Feature spaces: named by their weights, found for a set, the same in any batches; and what is refused."""

import hashlib
from pathlib import Path

import pytest
import torch

from melies import checkpoint
from melies.errors import UserError
from melies.images.classifier import ClassifierConfig, Head, ImageClassifier, classify
from melies.images.features import NETWORKS, FeatureSpace, find_classifier, open_space
from melies.optional import import_from


def classifier(classes=("a", "b"), *, size=8, channels=1) -> ImageClassifier:
    heads = (Head(name="class", classes=classes),)
    return ImageClassifier(
        ClassifierConfig(heads=heads, size=size, channels=channels, stem=1, widths=(8,), feature_dim=6)
    )


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MELIES_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_a_classifier_gives_what_its_heads_read_under_its_name_and_digest(models):
    model = classifier()
    folder = checkpoint.save(models / "toys-features", model)
    space = open_space("toys-features")
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    assert space.name == f"toys-features@{digest[:8]}"
    pixels = torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8)
    found = space(pixels)
    torch.testing.assert_close(found, classify(model, pixels).features)
    torch.testing.assert_close(space._replace(batch_size=2)(pixels), found)
    assert (found.dtype, found.shape, found.requires_grad) == (torch.float32, (5, 6), False)
    with pytest.raises(UserError, match="3 channels and the classifier reads 1"):
        space(pixels.expand(-1, 3, -1, -1))
    with pytest.raises(UserError, match="no pictures to measure"):
        space(pixels[:0])
    assert open_space(str(folder)).name == space.name


def test_a_metric_is_spelled_with_its_space_and_an_fid_only_where_it_is_one():
    plain = FeatureSpace("toys@12345678", lambda pixels: pixels)
    names = ["fd", "fd floor", "kd", "kd floor", "precision", "coverage floor"]
    assert [plain.spell(name) for name in names] == [
        "FD[toys@12345678]",
        "FD[toys@12345678] floor",
        "KD[toys@12345678]",
        "KD[toys@12345678] floor",
        "precision",
        "coverage floor",
    ]
    fid = plain._replace(frechet="FID[clean]", kernel="KID[clean]")
    assert [fid.spell(name) for name in ("fd floor", "kd", "recall")] == [
        "FID[clean] floor",
        "KID[clean]",
        "recall",
    ]


def test_the_classifier_of_a_set_is_found_by_the_set_or_by_the_classes(models):
    toys = {"classes": ("a", "b"), "shape": (1, 8, 8)}
    assert find_classifier("judge", **toys) is None
    checkpoint.save(models / "toys-judge", classifier())
    checkpoint.save(models / "blocks-judge", classifier(("b", "a")))
    checkpoint.save(models / "toys-features", classifier())
    checkpoint.save(models / "large-judge", classifier(size=16))
    checkpoint.save(models / "colour-judge", classifier(channels=3))
    checkpoint.save(models / "others-judge", classifier(("b", "c")))
    assert find_classifier("judge", **toys) == "blocks-judge"  # the first of those who know the classes
    assert find_classifier("judge", **toys, prepared="toys") == "toys-judge"
    assert find_classifier("features", **toys) == "toys-features"
    # without classes only the name of the set tells
    assert find_classifier("judge", classes=(), shape=(1, 8, 8), prepared="toys") == "toys-judge"
    assert find_classifier("judge", classes=(), shape=(1, 8, 8)) is None
    assert find_classifier("judge", classes=("a", "b"), shape=(1, 16, 16)) == "large-judge"
    assert find_classifier("judge", classes=("a", "b"), shape=(3, 8, 8)) == "colour-judge"
    assert find_classifier("judge", classes=("a", "b"), shape=(1, 8, 16), prepared="toys") is None


def test_pixels_need_no_network():
    pixels = torch.randint(256, (3, 3, 16, 16), dtype=torch.uint8)
    found = open_space("pixels")(pixels)
    blocks = pixels.float().reshape(3, 3, 8, 2, 8, 2).mean((3, 5)) / 255
    torch.testing.assert_close(found, blocks.flatten(1))
    with pytest.raises(UserError, match="leave out --weights"):
        open_space("pixels", "file.pth")


def test_every_network_is_there():
    assert all(callable(import_from(path)) for path in NETWORKS.values())


def test_what_is_no_space(models, latent_folder):
    checkpoint.save(models / "toys-features", classifier())
    with pytest.raises(UserError, match=r"no model 'inceptoin'; did you mean 'inception'"):
        open_space("inceptoin")
    with pytest.raises(UserError, match=r"no model 'toy-features'; did you mean 'toys-features'"):
        open_space("toy-features")
    with pytest.raises(UserError, match="weights of its own"):
        open_space("toys-features", "x.pth")
    with pytest.raises(UserError, match="not a classifier"):
        open_space(str(latent_folder))
