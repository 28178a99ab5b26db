"""Measure a model that draws: distances to real pictures, agreement with the prompts, copies.

Two classifiers are wanted that were trained apart from the model and from each other: one whose features
the distances are taken in, and one that judges what is to be seen. Those of the model's set are taken where
they are here; without any, a model of classes is compared in plain pixels and is not judged.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from melies import checkpoint
from melies.config import check_range
from melies.diffusion import SAMPLERS
from melies.errors import UserError, choose
from melies.files import file_sha256
from melies.images.classifier import classify
from melies.images.families import Family
from melies.images.features import FeatureSpace
from melies.images.generate import draw
from melies.images.inside import REBUILT, measure_inside, measure_reconstruction
from melies.images.instruments import open_instruments, short_name
from melies.images.judge import Judge, agreements, questions
from melies.images.model import ImageDiffusion
from melies.images.quality import Pictures, measure_classes, measure_quality
from melies.images.reference import (
    LEAST,
    MOST,
    Asked,
    Reference,
    learned_of,
)
from melies.images.sheets import spread, write_neighbours, write_sheet
from melies.interfaces import Metric
from melies.metrics.measure import measure_apart, measure_distances
from melies.metrics.neighbours import nearest
from melies.progress import Progress, silent
from melies.report.record import Record, record_run, write_record

SHEET_ROWS, NEAR = 12, 16
"""Pictures of one group on its sheet, and pictures whose neighbours are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSettings:
    """What is measured, and how."""

    model: str
    """The model: its name, or the path of a checkpoint."""
    data: Path | None = None
    """The real pictures; none: where `melies data prepare` puts those of the model's recipe."""
    judge: str | None = None
    """The classifier that says what a drawn picture shows; none: that of the model's set, if it is here."""
    features: str | None = None
    """Whose features the distances are taken in: a classifier, or one of efficientnet-lite0, inception,
    dinov2, clip and pixels; none: the classifier of the model's set, if it is here, or else pixels."""
    weights: str | None = None
    """A file or folder with the weights of the network that `features` names, or hf:OWNER/NAME."""
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


def evaluate_files(
    settings: EvaluateSettings,
    out: Path,
    *,
    command: str = "",
    allow_download: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = print,
) -> Record:
    """Measure a model; write a record and figures.

    A diffusion model of words or classes is measured at every scale, with a record for each: `record.json` is
    that with the best agreement on held-out compositions, or with the least Fréchet distance where there are
    none. Of a model that does not draw by itself reconstructions are measured. `command` goes into the
    records: what makes them again. With `allow_download` a text encoder or a network of features that is not
    here is fetched from the hub, once `say` was told.

    Raises:
        UserError: If the model, a classifier or the data is not found, or they do not fit.
    """
    tools = open_instruments(
        settings.model,
        count=settings.count,
        seed=settings.seed,
        data=settings.data,
        judge=settings.judge,
        features=settings.features,
        weights=settings.weights,
        num_steps=settings.steps,
        sampler=settings.sampler,
        allow_download=allow_download,
        progress=progress,
        say=say,
    )
    family, loaded, model = tools.family, tools.loaded, tools.loaded.model
    reference, groups, first = tools.reference, tools.groups, tools.first
    judge, space, real, guided = tools.judge, tools.space, tools.real, tools.guided
    learned = learned_of(reference, space, real, progress)
    own = [] if tools.by_words else _own(family, reference, settings.seed)
    real_verdict = classify(judge.model, real.pixels) if judge and class_names(judge) else None
    asked_of = {}
    if judge is not None and (tools.by_words or family.model.classes):
        asked_of = {name: questions(judge, asked.rows) for name, asked in groups.items()}
    notes = _notes(settings, loaded, judge)
    if not family.draws:
        notes["measured"] = "reconstructions of the real pictures, for it does not draw by itself"
        say(f"{short_name(settings.model)} does not draw by itself: its reconstructions are measured")
    sizes = {name: len(asked.rows) for name, asked in groups.items()}
    records, sheets, near, floors = {}, {}, {}, []
    for scale in settings.scales if guided else (1.0,):
        begun = time.perf_counter()
        metrics, sheets[scale] = [], {}  # of a group only what the figures show stays in memory
        for name, asked in groups.items():
            if guided:
                assert isinstance(model, ImageDiffusion)
                drawn = _draw(model, asked, scale, settings, progress)
            else:
                drawn = _sample(family, asked, settings, progress)
            if name == first:
                pictures = Pictures(drawn, space(drawn, progress=progress))
                metrics += _distances(pictures.features, real.features, space, settings.seed, floors)
                metrics += measure_quality(pictures, real, learned=learned, seed=settings.seed, say=say)
                if judge is not None and real_verdict is not None:
                    verdict, classes = classify(judge.model, drawn), class_names(judge)
                    metrics += measure_classes(verdict, real_verdict, classes, seed=settings.seed)
                near[scale] = drawn[spread(len(drawn), NEAR)]
            if judge is not None and name in asked_of:
                metrics += agreements(judge, name, asked_of[name], drawn, seed=settings.seed)
            sheets[scale][name] = drawn[spread(len(drawn), SHEET_ROWS)]
        records[scale] = record_run(
            short_name(settings.model) + (f", scale {scale:g}" if guided else ""),
            [*metrics, *own],
            data={"reference": reference.title, "real": len(real.pixels), **sizes},
            command=command,
            duration_s=time.perf_counter() - begun,
            notes={"scale": scale, **notes} if guided else notes,
        )
        if guided:
            write_record(out / f"scale-{scale:g}.json", records[scale])
    best = _best(records)
    write_record(out / "record.json", records[best])
    for name, asked in groups.items():
        made = "drawn" if family.draws else "rebuilt"
        columns = {f"scale {scale:g}" if guided else made: drawn[name] for scale, drawn in sheets.items()}
        places = spread(len(asked.rows), SHEET_ROWS)
        titles = [asked.titles[place] for place in places.tolist()]
        write_sheet(out / f"{name}.png", asked.rows.pixels[places], columns, titles)
    near_titles = [groups[first].titles[place] for place in spread(len(groups[first].rows), NEAR).tolist()]
    known = real if learned is None else learned.pictures
    found = nearest(space(near[best]), known.features, k=3)
    write_neighbours(out / "neighbours.png", near[best], known.pixels, found, near_titles)
    return records[best]


def _own(family: Family, reference: Reference, seed: int) -> list[Metric]:
    """What autoencoders have beside what they draw."""
    if family.loaded.kind not in REBUILT:
        return []
    unseen = reference.unseen or reference.pictures
    metrics = measure_reconstruction(family, reference.train, unseen, seed=seed)
    return metrics + measure_inside(family, reference.train, unseen, seed=seed)


def class_names(judge: Judge) -> tuple[str, ...]:
    """The classes that a judge knows pictures by; none where it answers other questions."""
    return next((head.classes for head in judge.model.config.heads if head.name == "class"), ())


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


def _sample(
    family: Family, asked: Asked, settings: EvaluateSettings, progress: Progress
) -> UInt8[Tensor, "n c h w"]:
    if not family.draws:
        return family.reconstruct(asked.rows.pixels, progress=progress)
    seeds = range(settings.seed, settings.seed + len(asked.rows))
    labels = family.labels_of(asked.classes, len(seeds))
    return family.sample(seeds, labels, batch_size=settings.batch, progress=progress)


def _distances(
    generated: Tensor, real: Tensor, space: FeatureSpace, seed: int, floors: list[Metric]
) -> list[Metric]:
    """The six distances, each with its floor, spelled as those of that space.

    The floors take longest and do not depend on what was drawn: `floors` is filled once.
    """
    if not floors:
        found = measure_distances(generated, real, seed=seed)
        values = found[::2]
        floors += found[1::2]
    else:
        values = measure_apart(generated, real, seed=seed)
    pairs = (entry for pair in zip(values, floors, strict=True) for entry in pair)
    return [metric._replace(name=space.spell(metric.name)) for metric in pairs]


def _best(records: Mapping[float, Record]) -> float:
    def merit(scale: float) -> float:
        ratios = [m.value for m in records[scale].metrics if m.name.endswith(", held-out: drawn / real")]
        return min(ratios) if ratios else -records[scale].metrics[0].value

    return max(records, key=merit)


def _notes(settings: EvaluateSettings, loaded: checkpoint.Loaded, judge: Judge | None) -> dict[str, Any]:
    return {
        "settings": {"steps": settings.steps, "sampler": settings.sampler, "seed": settings.seed},
        "weights_sha256": file_sha256(checkpoint.weights_file(loaded.folder)),
        "num_weights": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "trained": dict(loaded.provenance),
        **({"judge": judge.name} if judge else {}),
    }
