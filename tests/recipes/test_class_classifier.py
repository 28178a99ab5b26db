"""The judges and features of class folders: what they learn from, how well, and what they refuse."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from melies import checkpoint
from melies.data.places import find_or_make
from melies.data.sets import read_parts
from melies.errors import UserError
from melies.images.classifier import Head, classify
from melies.recipes import RECIPES, class_classifier, classifier
from melies.recipes.class_classifier import DIGITS_FEATURES, DIGITS_JUDGE
from melies.recipes.classifier import accuracies
from melies.recipes.job import Job
from melies.report.record import read_record
from melies.training.loop import TrainingConfig

ROOT = Path(__file__).resolve().parents[2]
QUICK = TrainingConfig(
    num_samples=9_600,
    batch_size=64,
    learning_rate=6e-3,
    warmup=640,
    ema_half_life=300,
    preview_every=0,
    precision="fp32",
)
MEASURING = {name: recipe for name, recipe in RECIPES.items() if "class_classifier" in recipe.module}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("MELIES_DATA", raising=False)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A judge of the digits, in seconds, and what the run said."""
    out, said = tmp_path_factory.mktemp("run") / "digits-judge", []
    config = replace(DIGITS_JUDGE, widths=(16, 24), training=QUICK)
    class_classifier.run(config, Job(out=out, say=said.append))
    return out, said


def test_it_reads_digits_that_it_never_saw(trained):
    out, said = trained
    loaded = checkpoint.load(out)
    assert loaded.config.heads == (Head(name="class", classes=tuple("0123456789")),)
    assert (loaded.config.size, loaded.config.channels) == (8, 1)
    parts = read_parts(find_or_make("digits"), size=8, channels=1)
    right = classify(loaded.model, parts.test.pixels).predicted["class"] == parts.test.labels
    record = read_record(out / "record.json")
    accuracy, error = record.metrics
    assert accuracy.value == pytest.approx(float(right.float().mean()))
    assert accuracy.value > 0.9
    assert (accuracy.name, accuracy.num_samples) == ("class, real test pictures", 355)
    assert error.name == "class, calibration error, real test pictures"
    assert record.data == {"training": 1_442, "test pictures": 355}
    assert [line.split(":")[0] for line in said[1:]] == [accuracy.name, error.name]
    assert loaded.provenance["recipe"] == "digits-judge"
    assert "left_out" not in loaded.provenance  # the set has a test part of its own


@pytest.mark.parametrize("name", ["digits-judge", "digits-features"])
def test_the_shipped_ones_are_as_good_as_their_record_says(name):
    loaded = checkpoint.load(name)
    parts = read_parts(find_or_make("digits"), size=8, channels=1)
    found = accuracies(loaded.model, parts.test, "test pictures")
    expected = read_record(ROOT / "benchmarks" / "quality" / f"{name}.json").metrics
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.name == theirs.name
        assert ours.value == pytest.approx(theirs.value, abs=0.005)  # half precision, one picture in 355


def test_only_the_training_part_is_shown(monkeypatch, tmp_path):
    shown = {}

    def train(model, objectives, batches, config, **others):
        shown["pixels"] = batches(0, 1_442)["pixels"]
        raise KeyboardInterrupt

    monkeypatch.setattr(classifier, "train", train)
    with pytest.raises(KeyboardInterrupt):
        class_classifier.run(DIGITS_FEATURES, Job(out=tmp_path, say=lambda line: None))
    parts = read_parts(find_or_make("digits"), size=8, channels=1)
    seen = sorted(bytes(p.add(1).mul(127.5).round().to(torch.uint8).numpy()) for p in shown["pixels"])
    assert seen == sorted(bytes(p.numpy()) for p in parts.train.pixels)


def test_ones_own_folders_without_a_test_part(tmp_path):
    rng = np.random.default_rng(0)
    for name, level in (("bright", 200), ("dark", 40)):
        (tmp_path / "own" / name).mkdir(parents=True)
        for i in range(40):
            pixels = rng.integers(level - 20, level + 20, (8, 8)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "own" / name / f"{i}.png")
    config = replace(DIGITS_FEATURES, left_out=3, training=replace(QUICK, num_samples=640, warmup=0))
    out = tmp_path / "run"
    class_classifier.run(config, Job(data=tmp_path / "own", out=out, say=lambda line: None))
    loaded = checkpoint.load(out)
    assert loaded.config.heads == (Head(name="class", classes=("bright", "dark")),)
    assert loaded.provenance["left_out"] == {"modulus": 10, "remainder": 3}
    data = read_record(out / "record.json").data
    assert data["training"] + data["test pictures"] == 80
    assert data["test pictures"] > 0


def pictures(folder, labels, shape):
    for label in labels:
        (folder / label).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(np.full(shape, 40 * i, np.uint8)).save(folder / label / f"{i}.png")


@pytest.mark.parametrize(
    ("labels", "shape", "config", "said"),
    [
        ((), (8, 8), DIGITS_JUDGE, "holds no pictures"),
        (("one",), (8, 8), DIGITS_JUDGE, "all pictures are of one class, 'one'"),
        (("one", "two"), (32, 32), class_classifier.CIFAR10_JUDGE, "grey, and colour is expected"),
    ],
)
def test_what_cannot_be_learned_is_refused_before_anything_is_written(tmp_path, labels, shape, config, said):
    (tmp_path / "data").mkdir()
    pictures(tmp_path / "data", labels, shape)
    with pytest.raises(UserError, match=said):
        class_classifier.run(config, Job(data=tmp_path / "data", out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", MEASURING)
def test_every_recipe_is_named_as_its_config_and_small_enough_to_ship(name, tmp_path):
    """The two of a set differ in shape and seed."""
    config = getattr(class_classifier, MEASURING[name].config.partition(":")[2])
    assert (config.name, config.prepared) == (name, MEASURING[name].data)
    model = class_classifier_model(config)
    assert classifier.count_parameters(model) * 2 < 500_000  # bytes in half precision
    other = next(o for o in MEASURING if o != name and MEASURING[o].data == config.prepared)
    other = getattr(class_classifier, MEASURING[other].config.partition(":")[2])
    assert config.widths != other.widths
    assert config.training.seed != other.training.seed


def class_classifier_model(config):
    head = Head(name="class", classes=tuple("abcdefghij"))
    return classifier.ImageClassifier(
        classifier.ClassifierConfig(
            heads=(head,),
            size=config.size,
            channels=config.channels,
            stem=config.stem,
            widths=config.widths,
            feature_dim=config.feature_dim,
        )
    )
