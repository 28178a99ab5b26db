"""The recipe of noisy classifiers: it learns, keeps what was best, says what it measured, and refuses."""

import json
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from melies import checkpoint
from melies.data.sets import read_parts, read_set
from melies.errors import UserError
from melies.images.noisy_classifier import NoisyClassifier, classify_noisy
from melies.nn.unet import UNetConfig
from melies.recipes import noisy_classifier
from melies.recipes.job import Job
from melies.recipes.noisy_classifier import (
    BEST,
    PATIENCE,
    WATCHED,
    NoisyClassifierRecipe,
    keep_best,
    measure_levels,
    noisy_classifier_loss,
)
from melies.report.record import read_record
from melies.rng import generator_for
from melies.training.log import read_log
from melies.training.loop import TrainingConfig

QUICK = NoisyClassifierRecipe(
    name="halves",
    prepared="fashion-mnist",
    network=UNetConfig(channels=1, size=8, widths=(8, 16), blocks=1, attention=(4,), head_dim=16, dim=16),
    levels=(0.1, 1.0, 60.0),
    training=TrainingConfig(
        num_samples=6_400,
        batch_size=64,
        learning_rate=5e-3,
        warmup=640,
        ema_half_life=300,
        log_every=3_200,
        preview_every=1_600,
        precision="fp32",
    ),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, write_halves):
    """A run of seconds on bright halves, its data, and what it said."""
    folder = tmp_path_factory.mktemp("noisy")
    data, said = write_halves(folder / "data", count=160), []
    noisy_classifier.run(QUICK, Job(out=folder / "run", data=data, say=said.append))
    return folder / "run", data, said


def test_it_knows_classes_through_noise_and_knows_when_it_cannot(trained):
    out, _, said = trained
    record = read_record(out / "record.json")
    found = {metric.name: metric for metric in record.metrics}
    assert found["accuracy at σ = 0.1"].value > 0.95
    assert found["accuracy at σ = 0.1"].interval[0] > 0.8
    assert 0.2 < found["accuracy at σ = 60"].value < 0.85  # nothing is left to be seen
    assert found["calibration error at σ = 1"].value < 0.3
    assert list(found) == [
        f"{what} at σ = {level}" for what in ("accuracy", "calibration error") for level in ("0.1", "1", "60")
    ]
    assert any(line.startswith("accuracy at σ = 1:") for line in said)
    assert record.data["watched"] + record.data["measured"] == len(read_parts(out.parent / "data").test)
    assert (out / "levels.png").stat().st_size > 1_000


def test_the_record_is_of_the_weights_that_were_best_when_watched(trained):
    out, _, _ = trained
    rows = read_log(out / WATCHED)
    assert [row["samples_seen"] for row in rows] == [1_600, 3_200, 4_800, 6_400]
    best = min(rows, key=lambda row: row["loss"])
    loaded = checkpoint.load(out / BEST)
    assert loaded.provenance["held_out_loss"] == best["loss"]
    assert loaded.provenance["samples_seen"] == best["samples_seen"]
    assert loaded.provenance["recipe"] == "halves"
    assert read_record(out / "record.json").notes["best"]["held_out_loss"] == best["loss"]
    assert best["loss"] < math.log(2)


def saying(logit: float) -> NoisyClassifier:
    """A classifier whose logits do not depend on the picture."""
    model = NoisyClassifier(
        noisy_classifier.NoisyClassifierConfig(network=QUICK.network, classes=("left", "right"))
    )
    nn.init.zeros_(model.out.weight)
    model.out.bias.data = torch.tensor([logit, 0.0])
    return model.eval()


def test_it_says_when_the_held_out_loss_rises_and_keeps_what_was_before(tmp_path, write_halves):
    data = read_set(write_halves(tmp_path / "data"))
    said: list[str] = []
    preview = keep_best(data, QUICK, Job(out=tmp_path / "run", say=said.append))
    (tmp_path / "run" / "preview").mkdir(parents=True)
    for number, logit in enumerate([1.0, 0.0, 2.0, 3.0, 4.0, 5.0], 1):
        preview(saying(logit), tmp_path / "run" / "preview", 100 * number)
    assert len(said) == 1
    assert "since 200 pictures" in said[0]
    assert f"{math.log(2):.4f}" in said[0]
    kept = checkpoint.load(tmp_path / "run" / BEST).model
    assert kept.out.bias.tolist() == [0.0, 0.0]
    losses = [row["loss"] for row in read_log(tmp_path / "run" / WATCHED)]
    assert losses[1] == pytest.approx(math.log(2))
    assert len(losses) == 2 + PATIENCE + 1


def test_a_resumed_run_measures_a_stretch_again_and_forgets_what_came_after(tmp_path, write_halves):
    data = read_set(write_halves(tmp_path / "data"))
    preview = keep_best(data, QUICK, Job(out=tmp_path / "run", say=lambda _: None))
    folder = tmp_path / "run" / "preview"
    folder.mkdir(parents=True)
    for seen, logit in ((100, 1.0), (200, 0.0), (200, 0.5)):
        preview(saying(logit), folder, seen)
    rows = read_log(tmp_path / "run" / WATCHED)
    assert [row["samples_seen"] for row in rows] == [100, 200]
    assert checkpoint.load(tmp_path / "run" / BEST).model.out.bias.tolist() == [0.5, 0.0]


def test_the_loss_is_the_cross_entropy_of_noised_pictures():
    model = saying(1.5).requires_grad_(False)
    labels = torch.tensor([0, 1, 1, 0])
    batch = {"pixels": torch.zeros(4, 1, 8, 8), "class": labels}
    loss, scalars = noisy_classifier_loss(QUICK)(model, batch, generator_for(0))
    expected = F.cross_entropy(torch.tensor([[1.5, 0.0]]).expand(4, 2), labels)
    assert float(loss) == pytest.approx(float(expected))
    assert scalars == {"accuracy": 0.5}


def test_calibration_is_measured_and_not_assumed(write_halves, tmp_path):
    """One that is sure of the first class is as wrong as it is sure."""
    data = read_set(write_halves(tmp_path / "data", count=20))
    metrics = measure_levels(saying(6.0), data, (1.0,))
    share, error = metrics
    assert share.value == 0.5
    assert error.value == pytest.approx(1 / (1 + math.exp(-6.0)) - 0.5, abs=1e-5)


def test_start_from_checks_what_it_starts_from(trained, tmp_path, write_halves):
    out, data, _ = trained
    others = write_halves(tmp_path / "others", ("up", "down"), count=40)
    with pytest.raises(UserError, match="knows the classes left, right, the data down, up"):
        noisy_classifier.run(QUICK, Job(out=tmp_path / "run", data=others, start_from=str(out)))
    larger = replace(QUICK, network=replace(QUICK.network, size=16, attention=()))
    with pytest.raises(UserError, match=r"reads \(1, 8, 8\)"):
        noisy_classifier.run(larger, Job(out=tmp_path / "run", data=data, start_from=str(out)))
    with pytest.raises(UserError, match="not a classifier of noisy pictures"):
        noisy_classifier.run(QUICK, Job(out=tmp_path / "run", data=data, start_from="digits-judge"))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"levels": ()}, "at least one noise level"),
        ({"levels": (1.0, 1.0)}, "each of them once"),
        ({"levels": (100.0,)}, "levels"),
        ({"sigma_max": 0.001}, "sigma_max"),
        ({"num_watched": 0}, "num_watched"),
        ({"training": replace(QUICK.training, preview_every=0)}, "best weights are not kept"),
    ],
)
def test_configs_that_cannot_be(change, what):
    with pytest.raises(UserError, match=what):
        replace(QUICK, **change)


def test_noise_levels_are_drawn_over_the_whole_range(trained):
    out, _, _ = trained
    sigma = noisy_classifier._levels(4_000, generator_for(0), QUICK)
    shares = torch.histc(sigma.log(), bins=4, min=math.log(0.002), max=math.log(80.0)) / 4_000
    assert shares.sum() == 1
    assert (shares - 0.25).abs().max() < 0.03
    model = checkpoint.load(out).model
    x0 = torch.zeros(2, 1, 8, 8)
    logits = classify_noisy(model, x0, torch.tensor([0.002, 80.0]), torch.zeros_like(x0), batch_size=1)
    assert logits.shape == (2, 2)
    assert bool(logits.isfinite().all())


def test_the_config_of_a_run_is_in_its_checkpoint(trained):
    out, _, _ = trained
    config = json.loads((out / BEST / "config.json").read_text())
    assert config["kind"] == "noisy-classifier"
    assert config["config"]["classes"] == ["left", "right"]
