"""An independent classifier that says what drawn pictures show, beside what it says of real ones."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from melies import checkpoint
from melies.data.images import ImageSet
from melies.errors import UserError
from melies.images.classifier import UNKNOWN, ImageClassifier, classify, labels_of
from melies.images.features import best_device, classifier_name
from melies.interfaces import Metric
from melies.metrics.agreement import agreement


class Judge(NamedTuple):
    """An independent classifier."""

    model: ImageClassifier
    name: str
    """With the first digits of its weights' digest."""
    loaded: checkpoint.Loaded
    """Its checkpoint, which may say what it was not trained on."""


class Question(NamedTuple):
    """What a judge is asked about the pictures of one group, and what it says of the real ones."""

    head: str
    known: Bool[Tensor, " n"]
    """Pictures that have an answer; the rest of the fields are about these."""
    answers: Int64[Tensor, " m"]
    real: Int64[Tensor, " m"]
    """What the judge sees in the real pictures of the same prompts."""
    texts: Int64[Tensor, " m"] | None
    """Number of the text, whose styles are right or wrong together; None where each picture is its own."""


def read_judge(name: str) -> Judge:
    """A classifier by its name or path.

    Raises:
        UserError: If it is not found, or no classifier.
    """
    loaded = checkpoint.load(name)
    if not isinstance(loaded.model, ImageClassifier):
        raise UserError("not a classifier", where=name, remedy="melies models lists what is here")
    return Judge(loaded.model.to(best_device()), classifier_name(loaded, name), loaded)


def questions(judge: Judge, rows: ImageSet) -> list[Question]:
    """The heads that have answers here and are right of some real picture; others can judge nothing."""
    predicted = classify(judge.model, rows.pixels).predicted
    texts = None
    if rows.texts is not None:
        place: dict[str, int] = {}
        texts = torch.tensor([place.setdefault(text, len(place)) for text in rows.texts])
    found = []
    for head in judge.model.config.heads:
        labels, real = labels_of(head, rows), predicted[head.name]
        known = labels != UNKNOWN
        if bool((real == labels)[known].any()):
            grouped = None if texts is None else texts[known]
            found.append(Question(head.name, known, labels[known], real[known], grouped))
    return found


def agreements(
    judge: Judge, group: str, asked: Sequence[Question], drawn: Tensor, *, seed: int
) -> list[Metric]:
    """Agreement of drawn pictures, beside the judge's accuracy on the real ones of the same prompts.

    Args:
        judge: Who is asked.
        group: What the pictures are called in the metrics' names.
        asked: The questions, from `questions` on the real rows in the same order.
        drawn: uint8 (n, c, h, w).
        seed: Of the resampling.
    """
    seen = classify(judge.model, drawn).predicted
    metrics = []
    for question in asked:
        found = agreement(
            question.head,
            predicted=seen[question.head][question.known],
            asked=question.answers,
            real_predicted=question.real,
            real_labels=question.answers,
            groups=question.texts,
            real_groups=question.texts,
            seed=seed,
        )
        title = f"{question.head}, {group}"
        metrics += [
            found.generated._replace(name=f"{title}: drawn"),
            found.real._replace(name=f"{title}: real"),
            found.ratio._replace(name=f"{title}: drawn / real"),
        ]
    return metrics
