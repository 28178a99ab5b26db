"""Measure a model that draws: distances to real pictures, agreement with the prompts, copies.

For a model of words two classifiers are needed that were trained apart from it and from each
other: one whose features the distances are taken in, and one that judges what is to be seen. A
model of classes is compared in plain pixels, averaged to 8×8, and is not judged.
"""

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
from melies.data.sets import held_split
from melies.data.splits import split_by_hash
from melies.diffusion import SAMPLERS
from melies.errors import UserError, choose
from melies.files import file_sha256, write_bytes
from melies.images.classifier import UNKNOWN, ImageClassifier, classify, labels_of
from melies.images.generate import draw, read_diffusion
from melies.images.model import ImageDiffusion
from melies.images.pictures import png_bytes
from melies.interfaces import Metric
from melies.metrics.agreement import agreement
from melies.metrics.measure import measure_distances, measure_frechet, measure_kernel, measure_prdc
from melies.metrics.neighbours import nearest
from melies.progress import Progress, silent
from melies.report.figure import grid, neighbours_figure
from melies.report.record import Record, record_run, write_record
from melies.rng import generator_for

Features = Callable[[Tensor], Tensor]
"""Pictures uint8 (n, c, h, w) to features (n, d)."""

LEAST = 20
"""Fewer pictures than this measure nothing."""

MOST = 50_000
"""More pictures than this make no number surer, and are held in memory at once."""

PERHAPS_SEEN = "pictures that the model may have been trained on"
"""What a set without a part for testing is compared with."""

SHEET_ROWS, NEAR = 12, 16
"""Pictures of one group on its sheet, and pictures whose neighbours are shown."""


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
        check_range("count", self.count, low=LEAST, high=MOST)
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


def evaluate_files(
    settings: EvaluateSettings,
    out: Path,
    *,
    command: str = "",
    allow_download: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = print,
) -> Record:
    """Measure a model at every scale; write one record per scale, the best one again, and figures.

    `record.json` is the scale with the best agreement on held-out compositions, or with the least
    Fréchet distance where nobody judges. `command` goes into the records: what makes them again. With
    `allow_download` a text encoder that is not here is fetched from the hub, once `say` was told.

    Raises:
        UserError: If the model, a classifier or the data is not found, or they do not fit.
    """
    loaded = read_diffusion(settings.model)
    model: ImageDiffusion = loaded.model
    if model.config.text is not None:
        model.load_text_encoder(allow_download=allow_download, say=say)
        real, groups, judge = _of_words(settings, model, progress)
        features, space = _learned_features(settings.features)
        reference = "training pictures" if "held-out" in groups else PERHAPS_SEEN
    else:
        real, groups, split = _of_classes(settings, loaded, progress)
        judge, (features, space) = None, (pixel_features, "8×8 pixels")
        reference = PERHAPS_SEEN if split is None else f"{split} pictures"
    if len(groups["seen"].rows) < LEAST:
        raise UserError(
            f"{len(groups['seen'].rows)} real pictures are too few to measure with",
            where=str(settings.data or "data"),
            remedy=f"bring at least {LEAST}",
        )
    real_features = features(real.pixels)
    questions = {name: _questions(judge, asked) for name, asked in groups.items()} if judge else {}
    notes = _notes(settings, loaded, judge)
    sizes = {name: len(asked.rows) for name, asked in groups.items()}
    records, sheets, near, floors = {}, {}, {}, []
    for scale in settings.scales:
        begun = time.perf_counter()
        metrics, sheets[scale] = [], {}  # of a group only what the figures show stays in memory
        for name, asked in groups.items():
            drawn = _draw(model, asked, scale, settings, progress)
            if name == "seen":
                metrics += _distances(features(drawn), real_features, space, settings.seed, floors)
                near[scale] = drawn[_spread(len(drawn), NEAR)]
            if judge is not None:
                metrics += _agreements(judge, name, questions[name], drawn, settings.seed)
            sheets[scale][name] = drawn[_spread(len(drawn), SHEET_ROWS)]
        records[scale] = record_run(
            f"{_plain(settings.model)}, scale {scale:g}",
            metrics,
            data={"reference": reference, "real": len(real), **sizes},
            command=command,
            duration_s=time.perf_counter() - begun,
            notes={"scale": scale, **notes},
        )
        write_record(out / f"scale-{scale:g}.json", records[scale])
    best = _best(records)
    write_record(out / "record.json", records[best])
    _sheets(out, groups, sheets)
    _neighbours(out, groups["seen"], near[best], features, real, real_features)
    return records[best]


def _of_words(
    settings: EvaluateSettings, model: ImageDiffusion, progress: Progress
) -> tuple[ImageSet, dict[str, Asked], Judge]:
    loaded = checkpoint.load(settings.judge)
    if not isinstance(loaded.model, ImageClassifier):
        raise UserError("not a classifier", where=settings.judge, remedy="melies train emoji-judge")
    judge = Judge(loaded.model, f"{_plain(settings.judge)}@{_digest(loaded)[:8]}")
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
    settings: EvaluateSettings, loaded: checkpoint.Loaded, progress: Progress
) -> tuple[ImageSet, dict[str, Asked], str | None]:
    """Of a set with a part that is not trained on only that part, which is named too."""
    recipe = str(loaded.provenance.get("recipe", _plain(settings.model)))
    source = settings.data or find_data(recipe)
    size, channels = loaded.config.size, loaded.config.channels
    split = held_split(source)
    real = read_images(source, size=size, channels=channels, split=split, progress=progress)
    chosen = _some(real, settings)
    if chosen.labels is None or not set(chosen.classes) <= set(loaded.config.classes):
        raise UserError("the classes of the pictures are not those of the model", where=str(source))
    names = [chosen.classes[label] for label in chosen.labels.tolist()]
    return real, {"seen": Asked(chosen, [], names)}, split


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
    loaded = checkpoint.load(name)
    model = loaded.model
    if not isinstance(model, ImageClassifier):
        raise UserError("not a classifier", where=name, remedy="melies train emoji-features")
    return lambda pixels: classify(model, pixels).features, f"{_plain(name)}@{_digest(loaded)[:8]}"


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


def _sheets(out: Path, groups: Mapping[str, Asked], sheets: Mapping[float, Mapping[str, Tensor]]) -> None:
    """One sheet of prompts by scales for each group."""
    for name, asked in groups.items():
        labels = asked.prompts or asked.classes
        places = _spread(len(labels), SHEET_ROWS)
        columns = [asked.rows.pixels[places], *(drawn[name] for drawn in sheets.values())]
        sheet = grid(
            _coloured(torch.stack(columns, 1).flatten(0, 1)),
            columns=len(columns),
            row_labels=[labels[i] for i in places.tolist()],
            column_labels=["real", *(f"scale {scale:g}" for scale in sheets)],
            zoom=max(1, 96 // asked.rows.pixels.shape[-1]),
        )
        write_bytes(out / f"{name}.png", png_bytes(sheet, {}))


def _neighbours(
    out: Path, asked: Asked, drawn: Tensor, features: Features, real: ImageSet, real_features: Tensor
) -> None:
    """The nearest pictures of the reference, of some drawn ones."""
    labels = asked.prompts or asked.classes
    found = nearest(features(drawn), real_features, k=3)
    sheet = neighbours_figure(
        _coloured(drawn),
        [_coloured(real.pixels[row]) for row in found.indices],
        distances=found.distances.tolist(),
        captions=[labels[i] for i in _spread(len(labels), NEAR).tolist()],
        across=4,
        zoom=max(1, 64 // drawn.shape[-1]),
    )
    write_bytes(out / "neighbours.png", png_bytes(sheet, {}))


def _spread(n: int, most: int) -> Int64[Tensor, " k"]:
    """At most `most` places, evenly over `n`."""
    return torch.linspace(0, n - 1, min(most, n)).round().long()


def _notes(settings: EvaluateSettings, loaded: checkpoint.Loaded, judge: Judge | None) -> dict[str, Any]:
    return {
        "settings": {"steps": settings.steps, "sampler": settings.sampler, "seed": settings.seed},
        "weights_sha256": _digest(loaded),
        "num_weights": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "trained": dict(loaded.provenance),
        **({"judge": judge.name} if judge else {}),
    }


def _coloured(pixels: Tensor) -> Tensor:
    return pixels.expand(-1, 3, -1, -1) if pixels.shape[1] == 1 else pixels


def _digest(loaded: checkpoint.Loaded) -> str:
    return file_sha256(checkpoint.weights_file(loaded.folder))


def _plain(name: str) -> str:
    return Path(name).name
