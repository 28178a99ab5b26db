"""What is measured of a cell, so that two cells of the same pictures can be compared pair by pair."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from melies.images.classifier import classify
from melies.images.clip_score import ClipScorer
from melies.images.instruments import Instruments
from melies.images.judge import Judge, Question, questions
from melies.interfaces import Metric
from melies.metrics.colour import mean_chroma, share_at_ends
from melies.metrics.diversity import cosine_diversity, cosine_replicates
from melies.metrics.frechet import frechet_distance_of_features, frechet_replicates
from melies.metrics.inception import inception_replicates, inception_score
from melies.metrics.interval import Difference, paired_difference, recentred_interval
from melies.metrics.kernel import kernel_distance, kernel_replicates
from melies.metrics.measure import measure, measure_share, recentred_metric
from melies.metrics.prdc import prdc_samples
from melies.metrics.spectrum import high_power
from melies.metrics.texture import edge_contrast, flat_share

RESAMPLES = 200
"""Bootstrap replicates of what is computed from all pictures together."""

SCORE = "inception-style score"


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The numbers of a cell, and what two cells are compared by."""

    metrics: list[Metric] = field(default_factory=list)
    columns: dict[str, Float[Tensor, " n"]] = field(default_factory=dict)
    """One number per picture, by the name of the metric that is their mean."""
    replicates: dict[str, Float[Tensor, " r"]] = field(default_factory=dict)
    """Replicates of those that are no mean."""

    def add_mean(self, name: str, values: Tensor, *, unit: str, higher: bool, seed: int) -> None:
        """A metric that is the mean of one number per picture; shares of yes and no get Wilson's interval."""
        values = values.double().cpu()
        self.columns[name] = values
        if bool(((values == 0) | (values == 1)).all()) and unit == "share":
            self.metrics.append(measure_share(name, values == 1, higher_is_better=higher))
            return
        rest = {"unit": unit, "higher_is_better": higher, "num_resamples": RESAMPLES, "seed": seed}
        self.metrics.append(measure(name, torch.mean, values, **rest))

    def add(
        self,
        name: str,
        value: float,
        replicates: Tensor,
        num: int,
        *,
        unit: str,
        higher: bool,
        seed: int,
        least: float = -torch.inf,
    ) -> None:
        """A metric of all pictures together."""
        self.replicates[name] = replicates.double().cpu()
        self.metrics.append(
            recentred_metric(
                name,
                value,
                replicates,
                unit=unit,
                higher_is_better=higher,
                num_samples=num,
                seed=seed,
                least=least,
            )
        )

    def tensors(self) -> dict[str, Tensor]:
        """What is kept of it beside its row."""
        kept = {f"columns/{name}": values for name, values in self.columns.items()}
        return kept | {f"replicates/{name}": values for name, values in self.replicates.items()}


class Meter:
    """Measures cells by the same instruments; what does not depend on a cell is computed once."""

    def __init__(self, tools: Instruments, *, clip: ClipScorer | None, seed: int) -> None:
        """Ask the judge about the real pictures of the first group."""
        self.tools, self.clip, self.seed = tools, clip, seed
        self.asked = tools.groups[tools.first]
        judged = tools.by_words or bool(tools.family.model.classes)
        self.questions: list[Question] = []
        if tools.judge is not None and judged:
            self.questions = questions(tools.judge, self.asked.rows)
        self.texts = self.asked.prompts or [name.replace("_", " ") for name in self.asked.classes]
        self._real_power = float(high_power(tools.real.pixels).mean())

    def measure(self, pixels: UInt8[Tensor, "n c h w"]) -> Measured:
        """Every number of pictures that were drawn of the first group, in its order."""
        found, seed = Measured(), self.seed
        self._distances(found, self.tools.space(pixels))
        self._look(found, pixels)
        if self.tools.judge is not None:
            self._judge(found, self.tools.judge, pixels)
        if self.clip is not None:
            found.add_mean("CLIP score", self.clip(pixels, self.texts), unit="", higher=True, seed=seed)
        return found

    def _distances(self, found: Measured, features: Tensor) -> None:
        real, seed, space = self.tools.real.features, self.seed, self.tools.space
        for name, value, replicates, unit, least in (
            ("fd", frechet_distance_of_features, frechet_replicates, "features²", 0.0),
            ("kd", kernel_distance, kernel_replicates, "", -torch.inf),
        ):
            several = replicates(features, real, num_resamples=RESAMPLES, seed=seed)
            found.add(
                space.spell(name),
                value(features, real),
                several,
                len(features),
                unit=unit,
                higher=False,
                seed=seed,
                least=least,
            )
        near = prdc_samples(features, real)
        for name, samples in (
            ("precision", near.precise),
            ("recall", near.recalled),
            ("coverage", near.covered),
        ):
            found.add_mean(name, samples, unit="share", higher=True, seed=seed)
            found.metrics[-1] = found.metrics[-1]._replace(num_samples=len(features))  # not of the real ones
        if bool((features.norm(dim=1) > 0).all()):  # a feature that is zero has no direction
            self._variety(found, features)

    def _variety(self, found: Measured, features: Tensor) -> None:
        seed = self.seed
        several = cosine_replicates(features, num_resamples=RESAMPLES, seed=seed)
        rest = {"unit": "", "higher": True, "seed": seed, "least": 0.0}
        found.add("diversity", cosine_diversity(features), several, len(features), **rest)
        groups = self._classes()
        if groups is not None:
            within = within_classes(features, groups)
            several = torch.stack(
                [
                    cosine_replicates(
                        features[groups == label], num_resamples=RESAMPLES, seed=seed + 1 + label
                    )
                    for label in _several(groups)
                ]
            ).mean(0)
            found.add("diversity within classes", within, several, len(features), **rest)

    def _classes(self) -> Int64[Tensor, " n"] | None:
        labels = self.asked.rows.labels
        if self.tools.by_words or labels is None or not _several(labels):
            return None
        return labels

    def _look(self, found: Measured, pixels: Tensor) -> None:
        seed = self.seed
        found.add_mean("pixels at the ends", share_at_ends(pixels), unit="share", higher=False, seed=seed)
        if pixels.shape[1] == 3:
            found.add_mean("chroma", mean_chroma(pixels), unit="share", higher=False, seed=seed)
        if self._real_power > 0:
            power = high_power(pixels) / self._real_power
            found.add_mean("high-frequency power", power, unit="ratio", higher=True, seed=seed)
        found.add_mean("edge contrast", edge_contrast(pixels), unit="range/px", higher=True, seed=seed)
        found.add_mean("solid colour", flat_share(pixels), unit="share", higher=False, seed=seed)

    def _judge(self, found: Measured, judge: Judge, pixels: Tensor) -> None:
        verdict, seed = classify(judge.model, pixels), self.seed
        head = max(judge.model.config.heads, key=lambda head: (head.name == "class", len(head.classes))).name
        probability = verdict.probability[head]
        several = inception_replicates(probability, num_resamples=RESAMPLES, seed=seed)
        found.add(
            SCORE,
            inception_score(probability),
            several,
            len(pixels),
            unit="classes",
            higher=True,
            seed=seed,
            least=1.0,
        )
        if not self.questions:
            return
        right = torch.zeros(len(pixels), dtype=torch.float64)
        counts = torch.zeros_like(right)
        for question in self.questions:
            agrees = (verdict.predicted[question.head][question.known] == question.answers).double()
            right[question.known] += agrees
            counts += question.known.double()
            if len(self.questions) > 1:
                name = f"agreement, {question.head}"
                found.add_mean(name, agrees, unit="share", higher=True, seed=seed)
        answered = counts > 0
        agreement = right[answered] / counts[answered]
        found.add_mean("agreement", agreement, unit="share", higher=True, seed=seed)


def within_classes(features: Float[Tensor, "n d"], labels: Int64[Tensor, " n"]) -> float:
    """Mean over the classes of the cosine distance of pairs within one; classes of one picture do not count.

    Guidance brings pictures of one class together and classes apart, and this sees the first alone.
    """
    found = [cosine_diversity(features[labels == label]) for label in _several(labels)]
    return sum(found) / len(found)


def difference(first: Measured, second: Measured, metric: str, *, seed: int) -> Difference:
    """How much more a metric is of one cell than of another of the same pictures, with its interval."""
    if metric in first.columns:
        return paired_difference(
            first.columns[metric], second.columns[metric], num_resamples=RESAMPLES, seed=seed
        )
    values = [next(m.value for m in side.metrics if m.name == metric) for side in (first, second)]
    # the replicates of one number are of the same rows in both
    replicates = first.replicates[metric] - second.replicates[metric]
    value = values[0] - values[1]
    return Difference(value, recentred_interval(value, replicates))


def from_tensors(metrics: list[Metric], tensors: Mapping[str, Tensor]) -> Measured:
    """What was kept by `Measured.tensors`, with its metrics."""
    parts: dict[str, dict[str, Tensor]] = {"columns": {}, "replicates": {}}
    for name, values in tensors.items():
        part, _, rest = name.partition("/")
        if part in parts:
            parts[part][rest] = values
    return Measured(metrics, parts["columns"], parts["replicates"])


def _several(labels: Tensor) -> list[int]:
    """The classes of which there are at least two pictures."""
    values, counts = labels.unique(return_counts=True)
    return values[counts > 1].tolist()
