"""Classifiers of pictures in class folders, to measure generated ones with: judges, and features.

    melies train fashion-mnist-judge --out runs/fashion-mnist-judge
    melies train fashion-mnist-features --out runs/fashion-mnist-features
    melies train cifar10-judge --out runs/cifar10-judge
    melies train cifar10-features --out runs/cifar10-features
    melies train digits-judge --out runs/digits-judge
    melies train digits-features --out runs/digits-features

The sets come from `melies data prepare`; with --data a recipe learns one's own pictures, in a folder per
class. The two networks of a set differ in shape, seed and in what they are shown, so that a distance between
the features of one says nothing about the verdicts of the other. A judge also learns from softened pictures,
for it is to say what is drawn, however crisply; features do not, for they are to tell blurred pictures from
sharp ones. The test part of the set is not trained on; where there is none, a tenth of the pictures is kept
for that. `record.json` in the run folder has the accuracy and the calibration there. On two processor cores
the recipes of Fashion-MNIST take 6 minutes, those of CIFAR-10 15, and those of the digits 1.
"""

from dataclasses import replace

from melies.data.places import find_or_make
from melies.data.sets import read_parts
from melies.images.augment import Augmentation
from melies.recipes.classifier import PictureClassifierConfig, train_classifier
from melies.recipes.job import Job
from melies.training.loop import State, TrainingConfig

SHARP = Augmentation(zoom=(0.92, 1.08), shift=0.08, softness=0.0, stains=0.0, grain=0.02)
"""What features learn from."""
SOFT = replace(SHARP, softness=0.6, coarse=(2, 2), grain=0.05)
"""What judges learn from."""

FASHION_MNIST_FEATURES = PictureClassifierConfig(
    name="fashion-mnist-features",
    prepared="fashion-mnist",
    size=28,
    channels=1,
    stem=2,
    widths=(32, 64, 64),
    feature_dim=64,
    balance=0.0,
    smoothing=0.05,
    augmentation=SHARP,
    training=TrainingConfig(
        num_samples=720_000,
        batch_size=64,
        learning_rate=2e-3,
        warmup=6_400,
        betas=(0.9, 0.98),
        weight_decay=0.05,
        ema_half_life=5_000,
        seed=1,
        log_every=6_400,
        preview_every=0,
        checkpoint_every_s=60,
    ),
)
FASHION_MNIST_JUDGE = replace(
    FASHION_MNIST_FEATURES,
    name="fashion-mnist-judge",
    widths=(24, 48, 72),
    augmentation=SOFT,
    training=replace(FASHION_MNIST_FEATURES.training, seed=0),
)

CIFAR10_FEATURES = replace(
    FASHION_MNIST_FEATURES,
    name="cifar10-features",
    prepared="cifar10",
    size=32,
    channels=3,
    widths=(40, 56, 64),
    augmentation=replace(SHARP, mirrored=0.5, shift=0.12),
    training=replace(FASHION_MNIST_FEATURES.training, num_samples=750_000),
)
CIFAR10_JUDGE = replace(
    CIFAR10_FEATURES,
    name="cifar10-judge",
    widths=(32, 64, 64),
    augmentation=replace(SOFT, mirrored=0.5, shift=0.12),
    training=replace(CIFAR10_FEATURES.training, seed=0),
)

DIGITS_FEATURES = replace(
    FASHION_MNIST_FEATURES,
    name="digits-features",
    prepared="digits",
    size=8,
    stem=1,
    widths=(16, 32),
    feature_dim=32,
    augmentation=replace(SHARP, shift=0.15),
    training=replace(
        FASHION_MNIST_FEATURES.training,
        num_samples=64_000,
        warmup=1_600,
        ema_half_life=2_000,
        log_every=1_600,
    ),
)
DIGITS_JUDGE = replace(
    DIGITS_FEATURES,
    name="digits-judge",
    widths=(24, 32),
    augmentation=replace(SOFT, shift=0.15, softness=0.3),
    training=replace(DIGITS_FEATURES.training, seed=0),
)
CONFIG = FASHION_MNIST_JUDGE


def run(config: PictureClassifierConfig, job: Job) -> State:
    """Train a classifier on the training part of `data`, and say how often it is right on the test part.

    Raises:
        UserError: If the pictures are not those of a set with classes, as `read_set` checks, or the model to
            start from does not fit.
    """
    source = find_or_make(config.prepared, job.data, progress=job.progress)
    parts = read_parts(
        source,
        size=config.size,
        channels=config.channels,
        classes="class" in config.heads,
        remainder=config.left_out,
        progress=job.progress,
        say=job.say,
    )
    facts = {} if parts.left_out is None else {"left_out": dict(parts.left_out)}
    return train_classifier(config, job, parts.train, {"test pictures": parts.test}, **facts)
