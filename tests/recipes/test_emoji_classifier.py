"""The judge and the features of emoji: what they train on; a run learns, resumes and reports."""

import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from melies import checkpoint
from melies.data.emoji import TONES, read_emoji
from melies.data.splits import split_by_hash
from melies.errors import UserError
from melies.images.classifier import UNKNOWN, ClassifierConfig, Head, ImageClassifier, head_for
from melies.recipes import classifier, emoji_classifier
from melies.recipes.classifier import MODULUS, accuracies, labelled_batches
from melies.recipes.emoji_classifier import FEATURES, JUDGE
from melies.recipes.job import Job
from melies.training.loop import TrainingConfig
from melies.transform import PixelRange

SIZE = 16
TRAINING = TrainingConfig(
    num_samples=4_480,
    batch_size=64,
    learning_rate=8e-3,
    warmup=320,
    ema_half_life=200,
    preview_every=0,
    precision="fp32",
)
TINY = replace(JUDGE, stem=2, widths=(8, 16), feature_dim=16, size=SIZE, training=TRAINING)


@pytest.fixture(scope="module")
def emoji(write_emoji, tmp_path_factory) -> Path:
    """192 pictures, of which some are held out and some left out."""
    return write_emoji(tmp_path_factory.mktemp("emoji") / "emoji.zip", 8)


@pytest.fixture(scope="module")
def trained(emoji, tmp_path_factory) -> tuple[Path, list[str]]:
    """A run folder, and what the run said."""
    out, said = tmp_path_factory.mktemp("run") / "judge", []
    emoji_classifier.run(TINY, Job(data=emoji, out=out, say=said.append))
    return out, said


def test_it_learns_and_says_how_often_it_is_right_on_what_it_never_saw(trained, emoji):
    out, said = trained
    loaded = checkpoint.load(out)
    heads = {head.name: head.classes for head in loaded.config.heads}
    assert heads == {"subcategory": ("bar", "disc"), "tone": TONES, "style": ("noto", "twemoji")}
    for title in ("held-out compositions", "other texts"):
        for name in heads:
            assert sum(line.startswith(f"{name}, real {title}: ") for line in said) == 1, (title, name)
    pictures = read_emoji(emoji, size=SIZE).pictures
    found = {metric.name: metric for metric in accuracies(loaded.model, pictures, "all")}
    for name, (least, count) in {"subcategory": (0.9, 192), "tone": (0.7, 160), "style": (0.9, 192)}.items():
        metric = found[f"{name}, real all"]
        assert metric.value >= least, name
        assert metric.num_samples == count  # a picture without a tone says nothing about tones
    assert loaded.provenance["recipe"] == "emoji-judge"
    assert loaded.provenance["left_out"] == {"modulus": MODULUS, "remainder": 1}


def test_nothing_held_out_or_left_out_is_trained_on(emoji, monkeypatch, tmp_path):
    seen = []

    def spy(config, pictures, model):
        seen.append(pictures)
        return labelled_batches(config, pictures, model)

    monkeypatch.setattr(classifier, "labelled_batches", spy)
    short = replace(TINY, training=replace(TRAINING, num_samples=64))
    said = []
    emoji_classifier.run(replace(short, left_out=2), Job(data=emoji, out=tmp_path / "run", say=said.append))
    texts = {str(row["text"]) for row in read_emoji(emoji, size=SIZE).pictures.rows}
    rest = {text: zlib.crc32(text.encode()) % MODULUS for text in texts}
    out = {text for text, rest in rest.items() if rest == 2 or (rest == 0 and "skin tone" in text)}
    assert {rest[text] for text in out} == {0, 2}  # the set has some of both
    assert set(seen[0].texts) == texts - out
    held = sum(value == 0 and "skin tone" in text for text, value in rest.items())
    assert said[0] == f"{2 * held} pictures of held-out compositions are not trained on"
    assert said[1].startswith(f"{2 * len(texts - out)} training pictures")


def test_nothing_left_to_train_on_is_a_mistake(tmp_path):
    """Every text is left out, and none is held out."""
    numbers = [i for i in range(60) if zlib.crc32(f"a patch {i}".encode()) % MODULUS == TINY.left_out]
    own = tmp_path / "own"
    own.mkdir()
    for i in numbers:
        Image.new("RGB", (SIZE, SIZE)).save(own / f"{i}.png")
    rows = [{"file_name": f"{i}.png", "text": f"a patch {i}"} for i in numbers]
    (own / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"own: no picture is left to train on"):
        emoji_classifier.run(replace(TINY, heads=("tone",)), Job(data=own, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_process_beside_the_main_one_leaves_the_record_to_it(emoji, monkeypatch, tmp_path):
    short = replace(TINY, training=replace(TRAINING, num_samples=64))
    monkeypatch.setattr(classifier, "is_main_process", lambda: False)
    emoji_classifier.run(short, Job(data=emoji, out=tmp_path / "run", say=lambda line: None))
    assert checkpoint.newest_checkpoint(tmp_path / "run") is not None
    assert not (tmp_path / "run" / "record.json").exists()


def test_judge_and_features_have_nothing_in_common_but_their_questions(emoji):
    assert JUDGE.heads == FEATURES.heads
    assert JUDGE.name != FEATURES.name
    assert JUDGE.training.seed != FEATURES.training.seed
    assert (JUDGE.stem, JUDGE.widths) != (FEATURES.stem, FEATURES.widths)
    texts = [str(row["text"]) for row in read_emoji(emoji, size=SIZE).pictures.rows]
    judge, features = (
        split_by_hash(texts, modulus=MODULUS, remainder=config.left_out) for config in (JUDGE, FEATURES)
    )
    assert judge.any()
    assert features.any()
    assert not (judge & features).any()


def test_resuming_gives_the_run_that_was_never_stopped(emoji, tmp_path):
    config = replace(TINY, training=replace(TRAINING, decay="constant", num_samples=192, batch_size=32))
    first = replace(config, training=replace(config.training, num_samples=96))

    def go(config, out, **options):
        emoji_classifier.run(config, Job(data=emoji, out=out, say=lambda line: None, **options))

    go(config, tmp_path / "whole")
    go(first, tmp_path / "parts")
    torch.rand(5)  # what else draws from the global generator has no say
    go(config, tmp_path / "parts", resume=True)
    for name in ("weights.safetensors", "ema.safetensors"):
        whole, parts = ((tmp_path / run / "checkpoint-192" / name).read_bytes() for run in ("whole", "parts"))
        assert whole == parts, name


def test_batches_are_balanced_labelled_and_a_function_of_position(emoji):
    pictures = read_emoji(emoji, size=SIZE).pictures
    rare = [i for i, row in enumerate(pictures.rows) if row["subcategory"] == "bar"][:12]
    common = [i for i, row in enumerate(pictures.rows) if row["subcategory"] == "disc"][:48]
    some = pictures.subset(rare + common)
    heads = tuple(head_for(name, some) for name in TINY.heads)
    model = ClassifierConfig(heads=heads, size=SIZE)
    batches = labelled_batches(replace(TINY, balance=1.0), some, model)
    whole = batches(0, 240)
    parts = [batches(start, 80) for start in (160, 0, 80)]
    for name, values in whole.items():
        assert torch.equal(torch.cat([parts[1][name], parts[2][name], parts[0][name]]), values), name
    assert (whole["label.subcategory"] == 0).float().mean() == pytest.approx(0.5, abs=0.02)
    plain = labelled_batches(replace(TINY, balance=0.0), some, model)(0, 240)
    assert (plain["label.subcategory"] == 0).float().mean() == 12 / 60
    other = replace(TINY, balance=1.0, training=replace(TRAINING, seed=1))
    assert not torch.equal(labelled_batches(other, some, model)(0, 240)["pixels"], whole["pixels"])
    # the corner of a picture names its row
    for i, index in enumerate(PixelRange().inverse(whole["pixels"])[:, 0, 0, 0].tolist()):
        row = pictures.rows[index]
        assert heads[2].classes[int(whole["label.style"][i])] == row["style"]
        tone = int(whole["label.tone"][i])
        assert tone == UNKNOWN if "tone" not in row["text"] else f", {TONES[tone]} skin" in row["text"]


def test_ones_own_classes_with_a_start_from_a_model(trained, tmp_path):
    """Pictures in folders, without metadata: the head "class"; a model that asks for more is refused."""
    rng = np.random.default_rng(0)
    for name, level in (("bright", 200), ("dark", 40)):
        (tmp_path / "own" / name).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(level - 20, level + 20, (SIZE, SIZE, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "own" / name / f"{i}.png")
    short = replace(TINY, training=replace(TRAINING, num_samples=64, batch_size=16))
    own = replace(short, heads=("class",))
    emoji_classifier.run(own, Job(data=tmp_path / "own", out=tmp_path / "run", say=lambda line: None))
    assert checkpoint.load(tmp_path / "run").config.heads == (Head(name="class", classes=("bright", "dark")),)
    with pytest.raises(UserError, match=r"answer none of its questions.*asks for subcategory, tone, style"):
        emoji_classifier.run(
            short, Job(data=tmp_path / "own", out=tmp_path / "more", start_from=str(trained[0]))
        )
    with pytest.raises(UserError, match="no picture has 'subcategory'"):
        emoji_classifier.run(short, Job(data=tmp_path / "own", out=tmp_path / "more"))
    grey = ImageClassifier(ClassifierConfig(heads=(Head(name="class", classes=("dark",)),), channels=1))
    start = str(checkpoint.save(tmp_path / "grey", grey))
    with pytest.raises(UserError, match="in 1 channels, and these have 3"):
        emoji_classifier.run(own, Job(data=tmp_path / "own", out=tmp_path / "more", start_from=start))


def test_going_on_from_a_model_keeps_its_questions(trained, emoji, tmp_path):
    short = replace(TINY, heads=("style",), training=replace(TRAINING, num_samples=64, learning_rate=1e-6))
    emoji_classifier.run(
        short, Job(data=emoji, out=tmp_path / "run", start_from=str(trained[0]), say=lambda line: None)
    )
    assert checkpoint.load(tmp_path / "run").provenance["start_from"] == checkpoint.origin(trained[0])
    before, after = (checkpoint.load(run).model for run in (trained[0], tmp_path / "run"))
    assert after.config == before.config
    pixels = torch.rand(2, 3, SIZE, SIZE)
    torch.testing.assert_close(before.features(pixels), after.features(pixels), atol=1e-2, rtol=1e-2)


def test_some_labels_may_be_missing_altogether(emoji, tmp_path):
    """Without a single tone in the data, the head of tones gives no loss and stays as it was."""
    own = tmp_path / "own"
    own.mkdir()
    for i in range(8):
        Image.new("RGB", (SIZE, SIZE), (30 * i, 0, 0)).save(own / f"{i}.png")
    rows = [{"file_name": f"{i}.png", "text": f"a patch {i}"} for i in range(8)]
    (own / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = replace(
        TINY, heads=("tone",), training=replace(TRAINING, num_samples=16, batch_size=8, weight_decay=0.0)
    )
    state = emoji_classifier.run(config, Job(data=own, out=tmp_path / "run", say=lambda line: None))
    for shadow, value in zip(state.ema.model.parameters(), state.model.parameters(), strict=True):
        assert torch.equal(shadow, value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"left_out": 0}, "left_out"), ({"balance": 1.5}, "balance"), ({"smoothing": 1.0}, "smoothing"),
     ({"heads": ()}, "needs heads")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        replace(TINY, **fields)
