"""It learns a toy set, its loss and labels are what they say, and softening pictures keeps what they show."""

import math

import pytest
import torch
import torch.nn.functional as F

from melies import checkpoint
from melies.data.emoji import TONES
from melies.data.images import ImageSet
from melies.errors import UserError
from melies.images.augment import augment
from melies.images.classifier import (
    UNKNOWN,
    ClassifierConfig,
    Head,
    ImageClassifier,
    classification_loss,
    classify,
    head_for,
    labels_of,
)
from melies.interfaces import Objective
from melies.training.loop import TrainingConfig, train
from melies.transform import PixelRange

HEADS = (Head(name="shape", classes=("bar", "square")), Head(name="colour", classes=("red", "green", "blue")))
SMALL = ClassifierConfig(heads=HEADS, size=16, stem=2, widths=(8, 16), feature_dim=24)


def toy(count: int, seed: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Bars and squares of three colours anywhere on white; every third has no label of its colour."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.full((count, 3, 16, 16), 255, dtype=torch.uint8)
    shapes = torch.randint(2, (count,), generator=generator)
    colours = torch.randint(3, (count,), generator=generator)
    places = torch.randint(1, 9, (count, 2), generator=generator)
    for picture, shape, colour, (top, left) in zip(pixels, shapes, colours, places.tolist(), strict=True):
        others = [channel for channel in range(3) if channel != colour]
        picture[others, top : top + (2 if shape == 0 else 6), left : left + 6] = 20
    asked = colours.clone()
    asked[::3] = UNKNOWN
    return pixels, {"shape": shapes, "colour": colours, "asked": asked}


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """Trained by the one loop for two seconds."""
    pixels, labels = toy(512, seed=1)
    torch.manual_seed(0)
    model = ImageClassifier(SMALL)

    def batches(start: int, size: int):
        rows = torch.arange(start, start + size) % len(pixels)
        return {name: values[rows] for name, values in {"pixels": pixels, **labels}.items()}

    def loss_fn(model, batch, rng):
        logits = model(augment(PixelRange().forward(batch["pixels"]), rng))
        return classification_loss(logits, {"shape": batch["shape"], "colour": batch["asked"]})

    out = tmp_path_factory.mktemp("run")
    config = TrainingConfig(
        num_samples=4_480,
        batch_size=64,
        learning_rate=4e-3,
        warmup=640,
        ema_half_life=300,
        preview_every=0,
        precision="fp32",
    )
    train(model, [Objective("classifier", lambda m: m.parameters(), loss_fn)], batches, config, out=out)
    return out


def test_it_learns_both_heads_and_comes_back_from_disk(learned):
    loaded = checkpoint.load(learned)
    assert (loaded.kind, loaded.config) == ("image-classifier", SMALL)
    pixels, labels = toy(200, seed=2)
    verdict = classify(loaded.model, pixels, batch_size=64)
    for name in ("shape", "colour"):
        assert (verdict.predicted[name] == labels[name]).float().mean() > 0.95, name
    assert verdict.features.shape == (200, 24)


def test_a_softened_picture_is_still_recognised(learned):
    model = checkpoint.load(learned).model
    pixels, labels = toy(200, seed=3)
    soft = F.interpolate(F.avg_pool2d(pixels.float(), 2), scale_factor=2.0, mode="bilinear")
    predicted = classify(model, soft.round().to(torch.uint8)).predicted
    for name in ("shape", "colour"):
        assert (predicted[name] == labels[name]).float().mean() > 0.9, name


def test_batches_do_not_change_the_verdict_and_the_call_is_the_heads_of_the_features(learned):
    model = checkpoint.load(learned).model
    pixels, _ = toy(10, seed=4)
    whole, parts = classify(model, pixels), classify(model, pixels, batch_size=3)
    torch.testing.assert_close(whole.features, parts.features)
    with torch.no_grad():
        x = PixelRange().forward(pixels)
        logits = model(x)
        torch.testing.assert_close(whole.features, model.features(x))
    for name, found in logits.items():
        assert torch.equal(found.argmax(1), whole.predicted[name])


def test_pictures_of_another_size_are_resized(learned):
    model = checkpoint.load(learned).model
    pixels, labels = toy(100, seed=5)
    large = pixels.repeat_interleave(3, 2).repeat_interleave(3, 3)
    assert (classify(model, large).predicted["colour"] == labels["colour"]).float().mean() > 0.95


def test_loss_is_cross_entropy_over_the_labelled_rows():
    logits = {"a": torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 3.0]]), "b": torch.zeros(3, 4)}
    labels = {"a": torch.tensor([0, UNKNOWN, 0]), "b": torch.tensor([UNKNOWN, UNKNOWN, 1])}
    loss, right = classification_loss(logits, labels, smoothing=0.0)
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(3))) / 2 + math.log(4)
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    assert right["a"] == 0.5
    smoothed, _ = classification_loss({"a": logits["a"][:1]}, {"a": torch.tensor([0])}, smoothing=0.2)
    # the smoothed target puts 0.9 on the first class and 0.1 on the second
    assert float(smoothed) == pytest.approx(math.log(1 + math.exp(-2)) + 0.1 * 2, rel=1e-6)


def test_a_head_without_labels_adds_nothing_and_passes_no_gradient():
    scores = torch.randn(4, 3, requires_grad=True)
    other = torch.randn(4, 2, requires_grad=True)
    unknown, known = torch.full((4,), UNKNOWN), torch.tensor([0, 1, 0, 1])
    loss, right = classification_loss({"a": scores, "b": other}, {"a": unknown, "b": known})
    loss.backward()
    assert (scores.grad == 0).all()
    assert other.grad.abs().sum() > 0
    assert set(right) == {"b"}
    nothing, right = classification_loss({"a": scores}, {"a": unknown})
    assert (nothing.item(), right) == (0.0, {})
    nothing.backward()  # a batch nobody labelled does not stop a run


def test_rows_without_a_label_pass_no_gradient():
    scores = torch.randn(4, 3, requires_grad=True)
    labels = torch.tensor([UNKNOWN, 2, UNKNOWN, 0])
    classification_loss({"a": scores}, {"a": labels})[0].backward()
    assert (scores.grad[labels == UNKNOWN] == 0).all()
    alone = scores.detach()[labels != UNKNOWN].requires_grad_()
    F.cross_entropy(alone, labels[labels != UNKNOWN], label_smoothing=0.1).backward()
    torch.testing.assert_close(scores.grad[labels != UNKNOWN], alone.grad)


def test_features_are_what_the_heads_read():
    model = ImageClassifier(SMALL)
    x = torch.rand(3, 3, 16, 16) * 2 - 1
    features = model.features(x)
    assert features.shape == (3, SMALL.feature_dim)
    assert {name: logits.shape[1] for name, logits in model(x).items()} == {"shape": 2, "colour": 3}
    for name, logits in model.answer(features).items():
        torch.testing.assert_close(logits, model(x)[name])
        torch.testing.assert_close(logits, model.heads[name](F.silu(features)))
    with pytest.raises(ValueError, match="1 channels for a classifier of 3"):
        model.features(x[:, :1])


def pictures(rows, *, labels=None, classes=()) -> ImageSet:
    texts = tuple(row["text"] for row in rows) if all("text" in row for row in rows) else None
    return ImageSet(
        pixels=torch.zeros(len(rows), 3, 2, 2, dtype=torch.uint8),
        texts=texts,
        labels=labels,
        classes=classes,
        rows=tuple(rows),
        names=tuple(str(i) for i in range(len(rows))),
    )


def test_labels_come_from_the_words_the_columns_or_the_classes():
    rows = [
        {"text": "a nurse, medium-dark skin tone", "subcategory": "person-role"},
        {"text": "a kiss, dark skin tone, light skin tone", "subcategory": "family"},
        {"text": "a pear", "subcategory": None},
        {"text": "a plum"},
    ]
    some = pictures(rows, labels=torch.tensor([1, 0, 1, 1]), classes=("x", "y"))
    assert labels_of(head_for("tone", some), some).tolist() == [3, UNKNOWN, UNKNOWN, UNKNOWN]
    column = head_for("subcategory", some)
    assert column.classes == ("family", "person-role")
    assert labels_of(column, some).tolist() == [1, 0, UNKNOWN, UNKNOWN]
    # by name, not by place: another set may have its classes in another order
    assert labels_of(Head(name="class", classes=("y", "z", "x")), some).tolist() == [0, 2, 0, 0]
    assert head_for("tone", some).classes == TONES
    without = pictures([{}, {}])
    assert labels_of(head_for("tone", without), without).tolist() == [UNKNOWN, UNKNOWN]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ClassifierConfig(heads=()), "needs heads"),
        (lambda: ClassifierConfig(heads=(HEADS[0], HEADS[0])), "each name once"),
        (lambda: ClassifierConfig(heads=HEADS, widths=(12,)), "multiple of 8"),
        (lambda: ClassifierConfig(heads=HEADS, size=30), "does not divide"),
        (lambda: Head(name="x", classes=("a", "a")), "each of them once"),
        (lambda: Head(name="type", classes=("a", "b")), "cannot be called 'type'"),
        (lambda: Head(name="a.b", classes=("a", "b")), "cannot be called 'a.b'"),
        (lambda: head_for("colour", pictures([{"text": "a pear"}])), "no picture has 'colour'"),
        (
            lambda: classify(ImageClassifier(SMALL), torch.zeros(0, 3, 16, 16, dtype=torch.uint8)),
            "no pictures",
        ),
        (
            lambda: classify(ImageClassifier(SMALL), torch.zeros(2, 1, 16, 16, dtype=torch.uint8)),
            "1 channels",
        ),
    ],
)
def test_mistakes(make, said):
    with pytest.raises(UserError, match=said):
        make()
