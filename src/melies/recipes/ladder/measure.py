"""The numbers of a rung: those that all rungs share, on one yardstick."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from melies.images.classifier import classify
from melies.images.families import Family
from melies.images.quality import Learned, Pictures, measure_classes, measure_quality
from melies.interfaces import Metric
from melies.metrics.agreement import agreement
from melies.metrics.measure import measure
from melies.recipes.ladder.drawn import Drawn
from melies.recipes.ladder.train import speeds
from melies.recipes.ladder.yardstick import Yardstick

SHARED = (
    "FD",
    "KD",
    "coverage",
    "conditional accuracy",
    "least frequent class",
    "training time",
    "weights",
)
"""What the one table shows."""

REAL = {
    "FD": "FD of training pictures",
    "KD": "KD of training pictures",
    "coverage": "coverage of training pictures",
    "conditional accuracy": "conditional accuracy, real",
    "least frequent class": "least frequent class, real",
}
"""Shared measure → what it reads of real pictures."""


def measure_drawn(
    drawn: Drawn, yard: Yardstick, *, seed: int, say: Callable[[str], None] = print
) -> list[Metric]:
    """Distances beside those of training pictures, what the judge sees, variety, copies, and blur."""
    features = yard.space(drawn.pixels)
    metrics = yard.distances(features, seed=seed)
    metrics += judged(drawn, yard, seed=seed)
    return metrics + measure_quality(
        Pictures(drawn.pixels, features),
        Pictures(yard.test.pixels, yard.test_features),
        learned=Learned(Pictures(yard.train.pixels, yard.train_features), yard.held_out),
        seed=seed,
        say=say,
    )


def judged(drawn: Drawn, yard: Yardstick, *, seed: int) -> list[Metric]:
    """How often the judge sees the class that was asked for, which classes it sees, and how surely."""
    verdict = classify(yard.judge.model, drawn.pixels)
    metrics = measure_classes(verdict, yard.real, yard.test.classes, seed=seed)
    if drawn.labels is None or yard.test.labels is None:
        return metrics
    found = agreement(
        "conditional accuracy",
        predicted=verdict.predicted["class"],
        asked=drawn.labels,
        real_predicted=yard.real.predicted["class"],
        real_labels=yard.test.labels,
        seed=seed,
    )
    return [
        found.generated._replace(name="conditional accuracy"),
        found.real._replace(name="conditional accuracy, real"),
        *metrics,
    ]


def measure_training(family: Family, log: Path, *, seconds: float, drawn: Drawn, seed: int) -> list[Metric]:
    """What a rung costs: training, weights, drawing."""
    per_second = torch.tensor(speeds(log), dtype=torch.float64)
    speed = measure(
        "training speed",
        torch.median,
        per_second,
        unit="pictures/s",
        higher_is_better=True,
        seed=seed,
    )
    each = 1000 * drawn.seconds / len(drawn.pixels)
    return [
        exactly("training time", seconds, "s", len(per_second)),
        speed,
        exactly("weights", num_weights(family.loaded.model) / 1000, "thousand", 1),
        exactly("drawing time", each, "ms/picture", len(drawn.pixels)),
    ]


def num_weights(model: nn.Module) -> int:
    """Numbers that training sets, those of nested parts included."""
    own = sum(parameter.numel() for parameter in model.parameters())
    return own + sum(num_weights(part) for part in getattr(model, "parts", {}).values())


def exactly(name: str, value: float, unit: str, num_samples: int) -> Metric:
    """A number that was counted or timed once: lower is better, and it is its own interval."""
    return Metric(
        name=name,
        value=value,
        unit=unit,
        higher_is_better=False,
        num_samples=num_samples,
        interval=(value, value),
        seed=0,
    )
