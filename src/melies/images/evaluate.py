"""Measure a model that draws: distances to real pictures, agreement with the prompts, copies.

For a model of words two classifiers are needed that were trained apart from it and from each
other: one whose features the distances are taken in, and one that judges what is to be seen. A
model of classes is compared in plain pixels, averaged to 8×8, and is not judged.
"""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from melies import checkpoint
from melies.config import check_range
from melies.data.emoji import read_emoji
from melies.data.images import ImageSet, read_images
from melies.data.places import find_data
from melies.data.splits import split_by_hash
from melies.diffusion import SAMPLERS
from melies.errors import UserError, choose
from melies.files import write_bytes
from melies.images.classifier import UNKNOWN, ImageClassifier, classify, labels_of
from melies.images.generate import draw, load_diffusion, png_bytes
from melies.images.model import ImageDiffusion
from melies.interfaces import Metric
from melies.machine import command_line
from melies.metrics.agreement import agreement
from melies.metrics.measure import measure_distances, measure_frechet, measure_kernel, measure_prdc
from melies.metrics.neighbours import nearest
from melies.models import file_sha256
from melies.progress import Progress, silent
from melies.report.figure import grid, neighbours_figure
from melies.report.record import Record, record_run, write_record
from melies.rng import generator_for

Features = Callable[[Tensor], Tensor]
"""Pictures uint8 (n, c, h, w) to features (n, d)."""

LEAST = 20
"""Fewer pictures than this measure nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSettings:
    """What is measured, and how."""

    model: str
    """The model: its name, or the path of a checkpoint."""
    data: Path | None = None
    """The real pictures; none: where `melies data prepare` puts those of the model's recipe."""
    judge: str = "emoji-judge"
    """The classifier that says what a drawn picture shows (models of words only)."""
    features: str = "emoji-features"
    """The classifier whose features the distances are taken in (models of words only)."""
    count: int = 500
    """Pictures drawn for the distances, and at most so many for each agreement."""
    scales: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 6.0)
    """Guidance scales, each measured by itself."""
    steps: int = 25
    """Steps of the sampler."""
    sampler: str = "dpmpp"
    """How the noise is taken away."""
    seed: int = 0
    """Seed of the choice of prompts and of the first picture; the next has seed + 1."""
    batch: int = 50
    """Pictures drawn at once."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("count", self.count, low=LEAST, high=1_000_000)
        check_range("steps", self.steps, low=1, high=10_000)
        check_range("batch", self.batch, low=1, high=4_096)
        check_range("seed", self.seed, low=0, high=2**53)
        choose(self.sampler, SAMPLERS, "sampler")
        if not self.scales or len(set(self.scales)) < len(self.scales):
            raise UserError("at least one scale is needed, each once", remedy="--scales 1 2 4")
        for scale in self.scales:
            check_range("scales", scale, low=0, high=1_000)


class Asked(NamedTuple):
    """Pictures to ask for, as real rows whose words or classes become the prompts."""

    rows: ImageSet
    prompts: list[str]
    classes: list[str]


class Judge(NamedTuple):
    """An independent classifier."""

    model: ImageClassifier
    name: str
    """With the first digits of its weights' digest."""


class Question(NamedTuple):
    """What a judge is asked about the pictures of one group, and what it says of the real ones."""

    head: str
    known: Bool[Tensor, " n"]
    """Pictures that have an answer; the rest of the fields are about these."""
    answers: Int64[Tensor, " m"]
    real: Int64[Tensor, " m"]
    """What the judge sees in the real pictures of the same prompts."""
    texts: Int64[Tensor, " m"]
    """Number of the text; the styles of one text are right or wrong together."""


def evaluate_files(settings: EvaluateSettings, out: Path, *, progress: Progress = silent) -> Record:
    """Measure a model at every scale; write one record per scale, the best one again, and figures.

    `record.json` is the scale with the best agreement on held-out compositions, or with the least
    Fréchet distance where nobody judges.

    Raises:
        UserError: If the model, a classifier or the data is not found, or they do not fit.
    """
    started = time.perf_counter()
    model = load_diffusion(settings.model)
    if model.config.text is not None:
        real, groups, judge = _of_words(settings, model, progress)
        features, space = _learned_features(settings.features)
    else:
        real, groups = _of_classes(settings, model, progress)
        judge, (features, space) = None, (pixel_features, "8×8 pixels")
    if len(groups["seen"].rows) < LEAST:
        raise UserError(
            f"{len(groups['seen'].rows)} real pictures are too few to measure with",
            where=str(settings.data or "data"),
            remedy=f"bring at least {LEAST}",
        )
    real_features = features(real.pixels)
    questions = {name: _questions(judge, asked) for name, asked in groups.items()} if judge else {}
    records, sheets, floors = {}, {}, []
    for scale in settings.scales:
        begun = time.perf_counter()
        drawn = {name: _draw(model, asked, scale, settings, progress) for name, asked in groups.items()}
        metrics = _distances(features(drawn["seen"]), real_features, space, settings.seed, floors)
        if judge is not None:
            for name, asked in questions.items():
                metrics += _agreements(judge, name, asked, drawn[name], settings.seed)
        records[scale] = record_run(
            f"{_plain(settings.model)}, scale {scale:g}",
            metrics,
            data={"real": len(real), **{name: len(asked.rows) for name, asked in groups.items()}},
            command=command_line(sys.argv),
            duration_s=time.perf_counter() - begun,
            notes=_notes(settings, model, scale, judge),
        )
        write_record(out / f"scale-{scale:g}.json", records[scale])
        sheets[scale] = drawn
    best = _best(records)
    write_record(out / "record.json", records[best])
    _figures(settings, out, groups, sheets, best, features, real, real_features)
    with progress(f"measured in {time.perf_counter() - started:.0f} s", total=1, unit="model") as track:
        track.advance(1)
    return records[best]


def _of_words(
    settings: EvaluateSettings, model: ImageDiffusion, progress: Progress
) -> tuple[ImageSet, dict[str, Asked], Judge]:
    loaded = checkpoint.load(settings.judge)
    if not isinstance(loaded.model, ImageClassifier):
        raise UserError("not a classifier", where=settings.judge, remedy="melies train emoji-judge")
    judge = Judge(loaded.model, f"{_plain(settings.judge)}@{_digest(settings.judge)}")
    emoji = read_emoji(settings.data, size=model.config.size, progress=progress)
    training = emoji.training()
    if training.texts is None:
        raise UserError(
            "the pictures have no texts to draw from",
            where=str(settings.data),
            remedy="add a metadata.jsonl with `text`",
        )
    groups = {"seen": _words(_some(_unknown_to(loaded.provenance, training), settings))}
    if emoji.held_out.any():
        groups["held-out"] = _words(_some(emoji.unseen(), settings))
    return training, groups, judge


def _unknown_to(provenance: Mapping[str, Any], pictures: ImageSet) -> ImageSet:
    """The pictures that a judge was not trained on, so that it is as sure of them as of drawn ones.

    All of them where it does not say, or where they would be too few to measure with: then they are
    somebody's own, which it does not know anyhow.
    """
    left_out = provenance.get("left_out")
    if left_out is None:
        return pictures
    unknown = split_by_hash(list(pictures.texts or ()), **left_out)
    return pictures.subset(unknown) if int(unknown.sum()) >= LEAST else pictures


def _of_classes(
    settings: EvaluateSettings, model: ImageDiffusion, progress: Progress
) -> tuple[ImageSet, dict[str, Asked]]:
    source = settings.data or find_data(_recipe(settings.model))
    size, channels = model.config.size, model.config.channels
    real = read_images(source, size=size, channels=channels, split="test", progress=progress)
    chosen = _some(real, settings)
    if chosen.labels is None or not set(chosen.classes) <= set(model.config.classes):
        raise UserError("the classes of the pictures are not those of the model", where=str(source))
    names = [chosen.classes[label] for label in chosen.labels.tolist()]
    return real, {"seen": Asked(chosen, [], names)}


def _words(rows: ImageSet) -> Asked:
    texts = rows.texts or ()
    styles = [str(row.get("style", "")) for row in rows.rows]
    prompts = [f"{text}, {style}" if style else text for text, style in zip(texts, styles, strict=True)]
    return Asked(rows, prompts, [])


def _some(pictures: ImageSet, settings: EvaluateSettings) -> ImageSet:
    order = torch.randperm(len(pictures), generator=generator_for(settings.seed, "evaluate"))
    return pictures.subset(order[: settings.count].sort().values)


def _draw(
    model: ImageDiffusion, asked: Asked, scale: float, settings: EvaluateSettings, progress: Progress
) -> UInt8[Tensor, "n c h w"]:
    return draw(
        model,
        asked.prompts,
        classes=asked.classes,
        scale=scale,
        num_steps=settings.steps,
        sampler=settings.sampler,
        seeds=range(settings.seed, settings.seed + len(asked.rows)),
        batch_size=settings.batch,
        progress=progress,
    )


def pixel_features(pixels: UInt8[Tensor, "n c h w"]) -> Tensor:
    """Pictures averaged to 8×8 and flattened, 0 … 1: what can be compared without any network."""
    return torch.nn.functional.adaptive_avg_pool2d(pixels.float() / 255, 8).flatten(1)


def _learned_features(name: str) -> tuple[Features, str]:
    model = checkpoint.load(name).model
    if not isinstance(model, ImageClassifier):
        raise UserError("not a classifier", where=name, remedy="melies train emoji-features")
    return lambda pixels: classify(model, pixels).features, f"{_plain(name)}@{_digest(name)}"


def _distances(generated: Tensor, real: Tensor, space: str, seed: int, floors: list[Metric]) -> list[Metric]:
    """The six distances, each with its floor; never called FID, for the features are not Inception's.

    The floors take longest and do not depend on what was drawn: `floors` is filled once.
    """
    if not floors:
        found = measure_distances(generated, real, seed=seed)
        values = found[::2]
        floors += found[1::2]
    else:
        fd, kd = measure_frechet(generated, real, seed=seed), measure_kernel(generated, real, seed=seed)
        values = (fd, kd, *measure_prdc(generated, real, seed=seed))
    spelled = {"fd": f"FD[{space}]", "kd": f"KD[{space}]"}
    metrics = []
    for metric in (entry for pair in zip(values, floors, strict=True) for entry in pair):
        first, _, rest = metric.name.partition(" ")
        metrics.append(metric._replace(name=f"{spelled.get(first, first)} {rest}".strip()))
    return metrics


def _questions(judge: Judge, asked: Asked) -> list[Question]:
    """The heads that have answers here and are right of some real picture; others can judge nothing."""
    predicted = classify(judge.model, asked.rows.pixels).predicted
    place: dict[str, int] = {}
    texts = torch.tensor([place.setdefault(text, len(place)) for text in asked.rows.texts or ()])
    found = []
    for head in judge.model.config.heads:
        labels, real = labels_of(head, asked.rows), predicted[head.name]
        known = labels != UNKNOWN
        if bool((real == labels)[known].any()):
            found.append(Question(head.name, known, labels[known], real[known], texts[known]))
    return found


def _agreements(
    judge: Judge, group: str, questions: list[Question], drawn: Tensor, seed: int
) -> list[Metric]:
    """Agreement of drawn pictures, beside the judge's accuracy on the real ones of the same prompts."""
    seen = classify(judge.model, drawn).predicted
    metrics = []
    for question in questions:
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


def _best(records: Mapping[float, Record]) -> float:
    def merit(scale: float) -> float:
        ratios = [m.value for m in records[scale].metrics if m.name.endswith(", held-out: drawn / real")]
        return min(ratios) if ratios else -records[scale].metrics[0].value

    return max(records, key=merit)


def _figures(
    settings: EvaluateSettings,
    out: Path,
    groups: Mapping[str, Asked],
    sheets: Mapping[float, Mapping[str, Tensor]],
    best: float,
    features: Features,
    real: ImageSet,
    real_features: Tensor,
) -> None:
    """One sheet of prompts by scales for each group, and the nearest training pictures of 16."""
    for name, asked in groups.items():
        labels = asked.prompts or asked.classes
        places = torch.linspace(0, len(labels) - 1, min(12, len(labels))).round().long()
        rows = [asked.rows.pixels[places], *(sheets[scale][name][places] for scale in settings.scales)]
        sheet = grid(
            _coloured(torch.stack(rows, 1).flatten(0, 1)),
            columns=len(rows),
            row_labels=[labels[i] for i in places.tolist()],
            column_labels=["real", *(f"scale {scale:g}" for scale in settings.scales)],
            zoom=max(1, 96 // asked.rows.pixels.shape[-1]),
        )
        write_bytes(out / f"{name}.png", png_bytes(sheet, {}))
    asked, drawn = groups["seen"], sheets[best]["seen"]
    places = torch.linspace(0, len(drawn) - 1, min(16, len(drawn))).round().long()
    found = nearest(features(drawn[places]), real_features, k=3)
    sheet = neighbours_figure(
        _coloured(drawn[places]),
        [_coloured(real.pixels[row]) for row in found.indices],
        distances=found.distances.tolist(),
        captions=[(asked.prompts or asked.classes)[i] for i in places.tolist()],
        across=4,
        zoom=max(1, 64 // drawn.shape[-1]),
    )
    write_bytes(out / "neighbours.png", png_bytes(sheet, {}))


def _notes(
    settings: EvaluateSettings, model: ImageDiffusion, scale: float, judge: Judge | None
) -> dict[str, Any]:
    trained = checkpoint.load(settings.model).provenance
    return {
        "scale": scale,
        "settings": {"steps": settings.steps, "sampler": settings.sampler, "seed": settings.seed},
        "weights_sha256": _digest(settings.model, 64),
        "num_weights": sum(parameter.numel() for parameter in model.parameters()),
        "trained": dict(trained),
        **({"judge": judge.name} if judge else {}),
    }


def _coloured(pixels: Tensor) -> Tensor:
    return pixels.expand(-1, 3, -1, -1) if pixels.shape[1] == 1 else pixels


def _digest(name: str, length: int = 8) -> str:
    folder = checkpoint.locate(name)
    file = folder / "ema.safetensors"
    return file_sha256(file if file.exists() else folder / "weights.safetensors")[:length]


def _plain(name: str) -> str:
    return Path(name).name


def _recipe(name: str) -> str:
    return str(checkpoint.load(name).provenance.get("recipe", _plain(name)))
