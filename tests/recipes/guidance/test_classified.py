"""Figures of classifier guidance: more and more of it, and the nearest training pictures."""

import math
from dataclasses import replace

import pytest
import torch
from PIL import Image

from melies import checkpoint
from melies.errors import UserError
from melies.images.classifier import ClassifierConfig, Head, ImageClassifier
from melies.images.model import ImageDiffusion, ImageDiffusionConfig
from melies.images.noisy_classifier import NoisyClassifier, NoisyClassifierConfig
from melies.nn.unet import UNetConfig
from melies.recipes.guidance.classified import ClassifiedSettings, open_classified
from melies.recipes.guidance.neighbours import NeighboursSettings, show_neighbours
from melies.recipes.guidance.scales import (
    ADVERSARIAL,
    GUIDING,
    JUDGING,
    RIGHT,
    AtScale,
    ScalesSettings,
    measure_scales,
    scales_figure,
)
from melies.report.record import read_record

CLASSES = ("left", "right")
NETWORK = UNetConfig(channels=1, size=8, widths=(8, 16), blocks=1, attention=(4,), head_dim=16, dim=16)


def shaken(model, size=0.1):
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += size * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture(scope="module")
def here(tmp_path_factory, write_halves):
    """A folder with a model, a guiding classifier, a judge, and pictures to train and to test on."""
    folder = tmp_path_factory.mktemp("classified")
    write_halves(folder / "data" / "train", count=45)
    for name in CLASSES:
        (folder / "data" / "test" / name).mkdir(parents=True)
        for number in range(30, 45):
            place = f"{name}/{number}.png"
            (folder / "data" / "train" / place).rename(folder / "data" / "test" / place)
    config = ImageDiffusionConfig(
        network=replace(NETWORK, num_classes=2), size=8, channels=1, sigma_data=0.5, classes=CLASSES
    )
    checkpoint.save(folder / "model", shaken(ImageDiffusion(config)))
    plain = replace(config, network=NETWORK, classes=())
    checkpoint.save(folder / "plain", shaken(ImageDiffusion(plain)))
    noisy = NoisyClassifierConfig(network=NETWORK, classes=CLASSES[::-1])
    checkpoint.save(folder / "noisy", shaken(NoisyClassifier(noisy), 0.2))
    others = replace(noisy, classes=("up", "down"))
    checkpoint.save(folder / "others", NoisyClassifier(others))
    head = Head(name="class", classes=CLASSES)
    judge = ClassifierConfig(heads=(head,), size=8, channels=1, stem=1, widths=(8,), feature_dim=8)
    torch.manual_seed(0)
    checkpoint.save(folder / "judge", ImageClassifier(judge))
    return folder


def settings(here, kind=ClassifiedSettings, **changed):
    return kind(
        **{
            "model": str(here / "model"),
            "classifier": str(here / "noisy"),
            "judge": str(here / "judge"),
            "features": "pixels",
            "data": here / "data",
            "count": 24,
            "shown": 4,
            "steps": 4,
            **changed,
        }
    )


def quiet(_):
    """Nobody listens."""


def test_the_same_noise_and_the_classes_in_turn(here):
    classified = open_classified(settings(here), say=quiet)
    assert len(classified.names) == 24
    assert classified.names[:20] == ["left", "right"] * 10  # and what is left over, in the shares of the set
    off, on = classified.draw(0.0), classified.draw(8.0)
    assert off.shape == (24, 1, 8, 8)
    assert torch.equal(off, classified.draw(0.0))
    assert not torch.equal(off, on)
    labels = classified.classifier.labels_of(classified.names)[:, None]
    surer = classified.guiding_probability(on).gather(1, labels).mean()
    assert surer > classified.guiding_probability(off).gather(1, labels).mean()


def test_the_judge_is_asked_in_the_order_of_the_guiding_classes(here):
    classified = open_classified(settings(here), say=quiet)
    pixels = classified.asked.pixels
    told = classified.judging_probability(pixels)
    judge = classified.tools.judge.model
    assert classified.classifier.classes == CLASSES[::-1]
    torch.testing.assert_close(told.sum(1), torch.ones(24))
    logits = judge(pixels.float() / 127.5 - 1)["class"]
    torch.testing.assert_close(told, logits.softmax(1).flip(1).detach(), rtol=1e-4, atol=1e-4)


def test_scales_are_measured_and_shown(here, tmp_path):
    said = []
    asked = settings(here, ScalesSettings, scales=(0.0, 8.0))
    record = measure_scales(asked, tmp_path, command="melies guidance scales", say=said.append)
    written = read_record(tmp_path / "record.json")
    assert written.command == "melies guidance scales"
    assert [metric.name for metric in written.metrics] == [metric.name for metric in record.metrics]
    found = {metric.name: metric for metric in record.metrics}
    for scale in ("0", "8"):
        guiding, judging, between = (
            found[f"{name}, scale {scale}"] for name in (GUIDING, JUDGING, ADVERSARIAL)
        )
        assert between.value == pytest.approx(guiding.value - judging.value)
        assert guiding.interval[0] < guiding.value < guiding.interval[1]
        assert found[f"{RIGHT}, scale {scale}"].num_samples == 24
    assert found[f"{GUIDING}, scale 8"].value > found[f"{GUIDING}, scale 0"].value
    assert sum(name.startswith("FD[") or "pixels" in name for name in found) >= 2
    assert {"precision, scale 0", "recall, scale 8"} <= found.keys()
    with Image.open(tmp_path / "scales.png") as sheet:
        assert sheet.width > 2 * 80
        assert sheet.height > 4 * 80
    assert (tmp_path / "certainty.png").is_file()
    assert sum(line.startswith("scale ") for line in said) == 2


def test_one_class_alone_is_compared_with_its_own_real_pictures(here):
    classified = open_classified(
        settings(here, classes=("left",), count=20, data=here / "data" / "train"), say=quiet
    )
    assert set(classified.names) == {"left"}
    assert len(classified.real_features) == 30
    assert len(classified.tools.real.features) == 60


def test_a_model_that_knows_no_class_is_led_to_one_all_the_same(here):
    classified = open_classified(settings(here, model=str(here / "plain")), say=quiet)
    assert set(classified.names) == {"left", "right"}
    assert not torch.equal(classified.draw(0.0), classified.draw(8.0))


def test_captions_stand_under_their_picture(monkeypatch):
    told = {}

    def grid(cells, **given):
        told.update(cells=cells, **given)
        return Image.new("RGB", (1, 1))

    monkeypatch.setattr("melies.recipes.guidance.scales.grid", grid)
    pixels = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    at = {
        0.0: AtScale(
            pixels[:2], torch.tensor([0.1, 0.2]), torch.tensor([0.3, 0.4]), torch.tensor([True, True])
        ),
        2.5: AtScale(
            pixels[2:], torch.tensor([0.5, 0.6]), torch.tensor([0.7, 0.8]), torch.tensor([True, True])
        ),
    }
    scales_figure(at, ["left", "right"])
    assert told["cells"][:, 0, 0, 0].tolist() == [0, 2, 1, 3]
    assert told["captions"] == ["0.10 / 0.30", "0.50 / 0.70", "0.20 / 0.40", "0.60 / 0.80"]
    assert told["column_labels"] == ["scale 0", "scale 2.5"]
    assert told["columns"] == 2


def test_neighbours_are_the_nearest_training_pictures(here, tmp_path):
    said = []
    asked = settings(here, NeighboursSettings, scales=(0.0, 2.5))
    record = show_neighbours(asked, tmp_path, say=said.append)
    assert (tmp_path / "scale-0.png").is_file()
    assert (tmp_path / "scale-2.5.png").is_file()
    names = [metric.name for metric in record.metrics]
    assert names == [
        f"{what}, scale {scale}"
        for scale in ("0", "2.5")
        for what in ("copied", "distance to training, generated ÷ held out")
    ]
    assert record.data == {"training": 60, "drawn": 24}
    assert all(math.isfinite(metric.value) for metric in record.metrics)
    assert read_record(tmp_path / "record.json").notes["scales"] == [0.0, 2.5]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classifier": "others"}, "knows 2 classes and the model 2; only one of them knows"),
        ({"classifier": "judge"}, "image-classifier is not a classifier of noisy pictures"),
        ({"model": "judge"}, "image-classifier"),
        ({"classes": ("lift",)}, "did you mean 'left'"),
    ],
)
def test_what_does_not_fit_is_named(change, said, here):
    change = {name: str(here / value) if isinstance(value, str) else value for name, value in change.items()}
    with pytest.raises(UserError, match=said):
        open_classified(settings(here, **change), say=quiet)


def test_without_a_part_that_was_not_trained_on_copies_cannot_be_told(here, tmp_path):
    asked = settings(here, NeighboursSettings, data=here / "data" / "test")
    with pytest.raises(UserError, match="no part that was not trained on"):
        show_neighbours(asked, tmp_path, say=quiet)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scales": ()}, "at least one scale"),
        ({"scales": (1.0, 1.0)}, "each once"),
        ({"scales": (-1.0,)}, "scales"),
        ({"beside": math.nan}, "scales"),
        ({"count": 3}, "count"),
        ({"shown": 25}, "shown"),
        ({"sampler": "dpm"}, "sampler"),
    ],
)
def test_settings_that_cannot_be(change, said, here):
    with pytest.raises(UserError, match=said):
        settings(here, **change)
    with pytest.raises(UserError, match="nearest = 0"):
        settings(here, NeighboursSettings, nearest=0)


def test_the_commands(here, tmp_path):
    """Both by the command line, with their numbers as JSON."""
    import json

    from melies.cli.classifier_guidance import neighbours, scales

    words = [
        "--model",
        str(here / "model"),
        "--classifier",
        str(here / "noisy"),
        "--judge",
        str(here / "judge"),
    ]
    words += [
        "--features",
        "pixels",
        "--data",
        str(here / "data"),
        "--count",
        "20",
        "--shown",
        "2",
        "--steps",
        "2",
    ]
    words += ["--quiet", "--scales", "0", "2"]
    for verb, file in ((scales, "scales.png"), (neighbours, "scale-2.png")):
        out = tmp_path / verb.__name__
        answer = verb([*words, "--out", str(out)])
        assert (out / file).is_file()
        assert answer.data["metrics"][0]["name"].endswith(", scale 0")
        assert json.dumps(answer.data["metrics"])
