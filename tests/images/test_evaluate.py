"""Measuring: real pictures reach the judge's own accuracy and the floor, shuffled ones chance, noise neither.

The toy set is one of words: coloured shapes, the colour named as a skin tone, in two styles.
"""

import hashlib
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from melies import checkpoint
from melies.data.emoji import TONES, read_emoji
from melies.data.splits import split_by_hash
from melies.errors import UserError
from melies.images import evaluate
from melies.images.classifier import ClassifierConfig, Head, ImageClassifier
from melies.images.evaluate import EvaluateSettings, evaluate_files
from melies.recipes import classifier, emoji_classifier
from melies.recipes.job import Job
from melies.report.record import read_record
from melies.training.loop import TrainingConfig

SIZE = 16
SHAPES = {"bar": (3, 10), "square": (7, 7), "post": (10, 3)}
COLOURS = {"light": 220, "medium-light": 175, "medium": 130, "medium-dark": 85, "dark": 40}
STYLES = ("noto", "twemoji")


def write_pictures(folder: Path, *, words: int = 16) -> Path:
    """3 shapes × 5 tones × `words` places × 2 styles: red of five strengths, framed in one of the styles."""
    rows = []
    for style in STYLES:
        (folder / style).mkdir(parents=True)
    for number in range(words):
        top, left = 1 + number % 4, 1 + number // 4 % 4
        for shape, (height, width) in SHAPES.items():
            for tone, red in COLOURS.items():
                for style in STYLES:
                    picture = Image.new("RGB", (SIZE, SIZE), "white")
                    if style == "twemoji":
                        picture.paste((0, 90, 255), (0, SIZE - 2, SIZE, SIZE))
                    picture.paste((red, 0, red // 3), (left, top, left + width, top + height))
                    name = f"{style}/{shape}-{number}-{tone}.png"
                    picture.save(folder / name)
                    text = f"{shape} number {number}, {tone} skin tone"
                    row = {"file_name": name, "text": text, "subcategory": shape, "style": style}
                    rows.append({**row, "unified": "0"})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The judge by its recipe, in a few seconds, and what the recipe said."""
    config = replace(
        emoji_classifier.JUDGE,
        size=SIZE,
        stem=2,
        widths=(16, 24),
        feature_dim=24,
        training=TrainingConfig(
            num_samples=7_680,
            batch_size=64,
            learning_rate=4e-3,
            warmup=640,
            ema_half_life=300,
            preview_every=0,
            precision="fp32",
        ),
    )
    said: list[str] = []
    out = tmp_path_factory.mktemp("judge") / "emoji-judge"
    emoji_classifier.run(config, Job(data=data, out=out, say=said.append))
    return out, said


@pytest.fixture(scope="module")
def judge(trained) -> str:
    return str(trained[0])


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> str:
    """Random weights: a distance needs features, not good ones."""
    torch.manual_seed(3)
    config = ClassifierConfig(
        heads=(Head(name="tone", classes=TONES),), size=2 * SIZE, stem=4, widths=(16,), feature_dim=16
    )
    folder = tmp_path_factory.mktemp("features") / "emoji-features"
    return str(checkpoint.save(folder, ImageClassifier(config)))


@pytest.fixture
def measured(data, judge, features, latent_folder, tmp_path, monkeypatch):
    """`measured(change) → record` of a "model" that returns the real pictures of its prompts, changed."""
    pictures = read_emoji(data, size=SIZE).pictures
    drawn_of = {
        f"{row['text']}, {row['style']}": image
        for row, image in zip(pictures.rows, pictures.pixels, strict=True)
    }

    def measure(change, **fields):
        def draw(model, prompts, *, seeds, scale, **others):
            assert len(seeds) == len(set(seeds)) == len(prompts)
            return change(torch.stack([drawn_of[prompt] for prompt in prompts]))

        monkeypatch.setattr(evaluate, "draw", draw)
        settings = EvaluateSettings(
            model=str(latent_folder),
            data=data,
            judge=judge,
            features=features,
            **{"count": 300, "scales": (2.0,), **fields},
        )
        return evaluate_files(settings, tmp_path / "out")

    return measure


def test_the_recipe_learns_the_set_and_says_how_well(trained):
    folder, said = trained
    measured = said[2:]
    assert [line.split(":")[0] for line in measured] == [
        f"{head}, {what}{rows}"
        for rows in ("held-out compositions", "other texts")
        for what in ("real ", "calibration error, real ")
        for head in ("subcategory", "tone", "style")
    ]
    values = [(line, float(line.split(": ")[1].split(" ")[0])) for line in measured]
    assert all(value > 0.9 for line, value in values if "error" not in line), said
    assert all(value < 0.5 for line, value in values if "error" in line), said
    loaded = checkpoint.load(folder)
    assert loaded.provenance["left_out"] == {"modulus": 10, "remainder": 1}
    assert [head.name for head in loaded.config.heads] == ["subcategory", "tone", "style"]
    record = read_record(folder / "record.json")
    assert [metric.name for metric in record.metrics] == [line.split(":")[0] for line in measured]
    assert record.notes["samples_seen"] == 7_680


def test_the_recipe_shows_neither_held_out_nor_left_out_rows(data, monkeypatch, tmp_path):
    shown = {}

    def train(model, objectives, batches, config, **others):
        shown["pixels"] = batches(0, 2_000)["pixels"]
        raise KeyboardInterrupt

    monkeypatch.setattr(classifier, "train", train)
    config = replace(emoji_classifier.JUDGE, size=SIZE)
    with pytest.raises(KeyboardInterrupt):
        emoji_classifier.run(config, Job(data=data, out=tmp_path, say=lambda line: None))
    emoji = read_emoji(data, size=SIZE)
    seen = {bytes(picture.add(1).mul(127.5).round().to(torch.uint8).numpy()) for picture in shown["pixels"]}
    left_out = emoji.held_out | split_by_hash(list(emoji.pictures.texts), remainder=1)
    hidden = {bytes(p.numpy()) for p in emoji.pictures.pixels[left_out]}
    allowed = {bytes(p.numpy()) for p in emoji.pictures.pixels[~left_out]}
    assert len(hidden) > 50
    assert seen == allowed
    assert not seen & hidden


def test_real_pictures_reach_the_accuracy_of_the_judge_and_the_floor(measured, data, features):
    record = measured(lambda pixels: pixels)
    emoji = read_emoji(data, size=SIZE)
    texts = list(emoji.pictures.texts)
    unseen, left_out = int(emoji.held_out.sum()), int(split_by_hash(texts, remainder=1).sum())
    assert record.data == {
        "reference": "training pictures",
        "real": len(texts) - unseen,
        "seen": left_out,
        "held-out": unseen,
    }
    for group in ("seen", "held-out"):
        for head in ("subcategory", "tone", "style"):
            drawn, real = (record.metric(f"{head}, {group}: {what}") for what in ("drawn", "real"))
            assert drawn.value == real.value > 0.9
            assert record.metric(f"{head}, {group}: drawn / real").value == 1.0
    digest = hashlib.sha256((Path(features) / "weights.safetensors").read_bytes()).hexdigest()[:8]
    fd, floor = (record.metric(f"FD[emoji-features@{digest}]{rest}") for rest in ("", " floor"))
    assert fd.value <= floor.interval[1]
    assert record.metric("precision").value == 1.0
    assert not any("FID" in metric.name for metric in record.metrics)
    assert record.notes["judge"].startswith("emoji-judge@")


def test_shuffled_pictures_agree_by_chance_and_are_still_at_the_floor(measured):
    record = measured(
        lambda pixels: pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(1))]
    )
    for head, classes in (("subcategory", 3), ("tone", 5), ("style", 2)):
        drawn = record.metric(f"{head}, seen: drawn")
        # four standard deviations of a guess
        spread = math.sqrt((1 - 1 / classes) / classes / drawn.num_samples)
        assert drawn.value == pytest.approx(1 / classes, abs=4 * spread)
        assert drawn.interval[0] < drawn.value < drawn.interval[1]
    fd, floor = record.metrics[:2]
    assert floor.name == f"{fd.name} floor"
    assert fd.value <= floor.interval[1]


def test_one_grey_picture_for_all_is_not_a_good_model(measured):
    record = measured(lambda pixels: torch.full_like(pixels, 128))
    fd, floor = record.metrics[:2]
    assert fd.value > 3 * floor.interval[1]
    assert record.metric("recall").value == 0.0
    assert record.metric("tone, held-out: drawn / real").value < 0.5


def test_the_best_scale_is_the_one_that_agrees_and_files_are_written(
    data, judge, features, latent_folder, tmp_path, monkeypatch
):
    pictures = read_emoji(data, size=SIZE).pictures
    drawn_of = {
        f"{row['text']}, {row['style']}": p for row, p in zip(pictures.rows, pictures.pixels, strict=True)
    }

    def draw(model, prompts, *, scale, **others):
        pixels = torch.stack([drawn_of[prompt] for prompt in prompts])
        return pixels if scale == 3.0 else pixels.flip(0)

    monkeypatch.setattr(evaluate, "draw", draw)
    settings = EvaluateSettings(
        model=str(latent_folder), data=data, judge=judge, features=features, scales=(1.0, 3.0), count=60
    )
    out = tmp_path / "out"
    record = evaluate_files(settings, out, command="melies evaluate words")
    assert record.command == "melies evaluate words"
    assert record.notes["scale"] == 3.0
    assert record.name == "words, scale 3"
    written = {path.name for path in out.iterdir()}
    assert written == {"record.json", "scale-1.json", "scale-3.json"} | {
        "seen.png",
        "held-out.png",
        "neighbours.png",
    }
    assert read_record(out / "record.json").metrics == record.metrics
    other = read_record(out / "scale-1.json")
    assert other.notes["scale"] == 1.0
    assert [m for m in other.metrics if "floor" in m.name] == [m for m in record.metrics if "floor" in m.name]
    assert [m.name for m in other.metrics] == [m.name for m in record.metrics]
    assert (
        record.notes["weights_sha256"]
        == hashlib.sha256((latent_folder / "ema.safetensors").read_bytes()).hexdigest()
    )
    for name in ("seen", "held-out", "neighbours"):
        with Image.open(out / f"{name}.png") as sheet:
            assert min(sheet.size) > 100


def test_a_real_drawing_model_is_measured_at_the_size_that_it_draws(
    data, judge, features, latent_folder, tmp_path
):
    """No part replaced: words that it has not learned, so agreement is what a stranger would get."""
    settings = EvaluateSettings(
        model=str(latent_folder),
        data=data,
        judge=judge,
        features=features,
        scales=(2.0,),
        count=20,
        steps=2,
    )
    record = evaluate_files(settings, tmp_path / "out")
    assert record.metric("tone, seen: real").value > 0.8
    assert record.metric("tone, seen: drawn").value < 0.7


def test_a_judge_of_another_size_that_does_not_say_what_it_was_trained_on(
    data, features, latent_folder, tmp_path
):
    settings = EvaluateSettings(
        model=str(latent_folder),
        data=data,
        judge=features,
        features=features,
        scales=(1.0,),
        count=20,
        steps=1,
    )
    record = evaluate_files(settings, tmp_path / "out")
    assert record.data["seen"] == 20
    assert (tmp_path / "out" / "seen.png").is_file()


def test_a_model_of_classes_is_compared_in_pixels_and_judged_by_nobody(pixel_model, tmp_path):
    folder = checkpoint.save(tmp_path / "shop", pixel_model, ema=pixel_model.state_dict())
    for split in ("train", "test"):
        for shade, name in enumerate(("bag", "coat", "shirt")):
            place = tmp_path / "data" / split / name
            place.mkdir(parents=True)
            for i in range(8):
                Image.new("L", (8, 8), 60 * shade + 5 * i).save(place / f"{i}.png")
    settings = EvaluateSettings(model=str(folder), data=tmp_path / "data", scales=(1.0,), count=24, steps=2)
    record = evaluate_files(settings, tmp_path / "out")
    assert record.metrics[0].name == "FD[8×8 pixels]"
    assert len(record.metrics) == 12
    assert record.data == {"reference": "test pictures", "real": 24, "test": 24}
    assert "judge" not in record.notes
    validated = replace(settings, data=tmp_path / "validated")
    shutil.copytree(tmp_path / "data", validated.data)
    (validated.data / "test").rename(validated.data / "validation")
    assert evaluate_files(validated, tmp_path / "out").data["reference"] == "validation pictures"
    own = replace(settings, data=tmp_path / "data" / "train")  # folders of classes, and no splits
    assert evaluate_files(own, tmp_path / "out").data == {
        "reference": "pictures that the model may have been trained on",
        "real": 24,
        "seen": 24,
    }
    for split in ("train", "test"):
        (tmp_path / "data" / split / "bag").rename(tmp_path / "data" / split / "hat")
    with pytest.raises(UserError, match="classes of the pictures are not those of the model"):
        evaluate_files(settings, tmp_path / "out")


def test_a_model_of_classes_is_measured_by_the_classifiers_of_its_set(pixel_model, tmp_path, monkeypatch):
    """Those that are here and know its classes; one that is asked for comes before them."""
    monkeypatch.setenv("MELIES_MODELS", str(tmp_path / "models"))
    heads = (Head(name="class", classes=("coat", "shirt", "bag")),)
    config = ClassifierConfig(heads=heads, size=8, channels=1, stem=1, widths=(8,), feature_dim=4)
    names = {}
    for name in ("shop-judge", "shop-features", "another"):
        model = ImageClassifier(config)
        with torch.no_grad():  # says "coat" whatever it sees, so that it is right of a third
            model.heads["class"].weight.zero_()
            model.heads["class"].bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
        folder = checkpoint.save(tmp_path / "models" / name, model)
        digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
        names[name] = f"{name}@{digest[:8]}"
    folder = checkpoint.save(tmp_path / "shop", pixel_model, ema=pixel_model.state_dict())
    for label in ("bag", "coat", "shirt"):
        (tmp_path / "data" / "test" / label).mkdir(parents=True)
        (tmp_path / "data" / "train" / label).mkdir(parents=True)
        for i in range(8):
            for split in ("test", "train"):
                Image.new("L", (8, 8), 10 * i).save(tmp_path / "data" / split / label / f"{i}.png")
    settings = EvaluateSettings(model=str(folder), data=tmp_path / "data", scales=(1.0,), count=24, steps=2)
    record = evaluate_files(settings, tmp_path / "out")
    assert record.metrics[0].name == f"FD[{names['shop-features']}]"
    assert record.notes["judge"] == names["shop-judge"]
    assert record.metric("class, test: drawn").value == pytest.approx(1 / 3)
    assert record.metric("class, test: drawn / real").value == 1.0
    asked = replace(settings, features="another", judge="another")
    record = evaluate_files(asked, tmp_path / "out")
    assert record.metrics[0].name == f"FD[{names['another']}]"
    assert record.notes["judge"] == names["another"]
    record = evaluate_files(replace(settings, features="pixels"), tmp_path / "out")
    assert record.metrics[0].name == "FD[8×8 pixels]"
    with pytest.raises(UserError, match="which network are the weights of"):
        evaluate_files(replace(settings, weights="x.pth"), tmp_path / "out")


def test_own_captions_without_any_split_are_measured_too(judge, features, latent_folder, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    rows = [{"file_name": f"{i}.png", "text": f"patch {i}"} for i in range(24)]
    for i, row in enumerate(rows):
        Image.new("RGB", (SIZE, SIZE), (10 * i, 0, 90)).save(folder / row["file_name"])
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = EvaluateSettings(
        model=str(latent_folder),
        data=folder,
        judge=judge,
        features=features,
        scales=(1.0,),
        count=20,
        steps=2,
    )
    record = evaluate_files(settings, tmp_path / "out")
    assert record.data == {
        "reference": "pictures that the model may have been trained on",
        "real": 24,
        "seen": 20,
    }
    named = {metric.name.split("[")[0] for metric in record.metrics}
    assert {"FD", "vendi", "euclidean diversity real"} <= named
    assert not {
        name for name in named if "drawn" in name or "class" in name
    }  # nothing is asked for or judged
    for row in rows[:8]:
        (folder / row["file_name"]).unlink()
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[8:]))
    with pytest.raises(UserError, match="16 real pictures are too few"):
        evaluate_files(settings, tmp_path / "out")
    (folder / "metadata.jsonl").unlink()
    with pytest.raises(UserError, match="no texts to draw from"):
        evaluate_files(settings, tmp_path / "out")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"count": 3}, "count"),
        ({"count": 50_001}, "count"),
        ({"steps": 0}, "steps"),
        ({"scales": ()}, "at least one scale"),
        ({"scales": (2.0, 2.0)}, "each once"),
        ({"scales": (math.nan,)}, "scales"),
        ({"sampler": "heum"}, "did you mean 'heun'"),
    ],
)
def test_settings_that_cannot_be(fields, said):
    with pytest.raises(UserError, match=said):
        EvaluateSettings(model="emoji", **fields)


def test_what_is_no_classifier_is_refused_before_anything_is_drawn(data, judge, latent_folder, tmp_path):
    for fields in (
        {"judge": str(latent_folder), "features": judge},
        {"judge": judge, "features": str(latent_folder)},
    ):
        with pytest.raises(UserError, match="not a classifier"):
            evaluate_files(EvaluateSettings(model=str(latent_folder), data=data, **fields), tmp_path / "out")
    assert not (tmp_path / "out").exists()
