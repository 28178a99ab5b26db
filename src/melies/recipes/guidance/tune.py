"""Tune a schedule's parameters on some seeds, test them on others, and carry them from model to model.

The paper on weight schedulers says that tuned values do not transfer: here they are tuned at every place, a
model at a number of steps, and each result is tested at every place, on pictures that no tuning has seen.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from melies.errors import UserError
from melies.images.instruments import open_instruments, short_name
from melies.interfaces import Guidance, Metric
from melies.metrics.interval import Difference
from melies.progress import Track
from melies.recipes.guidance.families import Values
from melies.recipes.guidance.place import Place, make_place
from melies.recipes.guidance.search import Question, Trial, best_of, search
from melies.recipes.guidance.tune_settings import FREE, SearchSettings
from melies.recipes.job import Job
from melies.recipes.sweep.compare import differences, read_measured
from melies.recipes.sweep.measure import Measured
from melies.recipes.sweep.run import identity
from melies.recipes.sweep.settings import fingerprint
from melies.recipes.sweep.store import append_row, check_plan, read_rows, write_plan, write_tensors

TRIALS, TESTS = "trials.jsonl", "tests.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What tuning found at one place."""

    place: str
    values: Values
    loss: float
    """On the tuning pictures."""
    static_loss: float
    """Of static guidance on the same."""
    trials: int
    evaluations: int
    """Of the network, for all trials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Values tuned at one place, tested at another."""

    tuned: str
    tested: str
    values: Values
    metrics: tuple[Metric, ...]
    """Of the test pictures; none where these values cannot be there."""
    against_static: Mapping[str, Difference]
    """Metric → how much more it is than of static guidance at the place of the test."""
    against_own: Mapping[str, Difference]
    """Metric → how much more it is than of the values that were tuned there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchReport:
    """What a search found."""

    out: Path
    parameters: tuple[str, ...]
    """What the values are called."""
    tuned: tuple[Tuned, ...]
    transfers: tuple[Transfer, ...]
    """Place by place that was tuned, each tested at all of them."""
    asked: int
    """Trials and tests that were drawn now; the rest was there."""
    seconds: float


def open_places(settings: SearchSettings, job: Job) -> list[Place]:
    """All models at all numbers of steps; each model is opened once.

    Raises:
        UserError: If one is not found or cannot be guided.
    """
    places = []
    for model in settings.models:
        tools = open_instruments(
            model,
            count=settings.tuning + settings.test,
            seed=settings.seed,
            data=settings.data,
            judge=settings.judge,
            features=settings.features,
            weights=settings.weights,
            allow_download=job.allow_download,
            progress=job.progress,
            say=job.say,
        )
        # without budget and models: a longer search goes on with the trials of a shorter one
        digest = fingerprint(settings, identity(tools, None), (*FREE, "budget"))
        for steps in settings.steps:
            name = f"{short_name(model)}, {steps} steps"
            places.append(make_place(name, steps, settings, tools, digest=digest))
    return places


def run_search(settings: SearchSettings, job: Job) -> SearchReport:
    """Tune at every place, test every result at every place, write rows as they come.

    Raises:
        UserError: If the folder holds a search and is not to be gone on with, or another one; or nothing
            can be tuned within the budget.
    """
    started = time.perf_counter()
    places = open_places(settings, job)
    free = (*FREE, "budget")
    check_plan(
        job.out, settings, fingerprint(settings, {}, free), free=free, resume=job.resume, what="search"
    )
    write_plan(job.out, settings, fingerprint(settings, {}, free))
    memory = _Memory(job.out)
    static = sum(place.cost(place.static) * len(place.tuning.asked.rows) for place in places)
    total = settings.budget * len(places) + static
    with job.progress("tuning", total=total, unit="evaluations") as track:
        tuned = [_tune(place, memory, track) for place in places]
    tests = sum(
        (place.cost(place.static) + sum(place.cost(place.guidance(found.values)) for found in tuned))
        * len(place.testing.asked.rows)
        for place in places
    )
    with job.progress("testing", total=tests, unit="evaluations") as track:
        transfers = _transfers(places, tuned, memory, track)
    return SearchReport(
        out=job.out,
        parameters=tuple(parameter.name for parameter in places[0].family.parameters),
        tuned=tuple(tuned),
        transfers=tuple(transfers),
        asked=memory.asked,
        seconds=time.perf_counter() - started,
    )


class _Memory:
    """What was asked before, on disk."""

    def __init__(self, out: Path) -> None:
        self.out, self.asked = out, 0
        self.trials = {row["key"]: row for row in read_rows(out / TRIALS)}
        self.tests = {row["key"]: row for row in read_rows(out / TESTS)}

    def loss(
        self, place: Place, words: list, guidance: Guidance | None, pictures: int, track: Track
    ) -> float:
        """The loss of some guidance on tuning pictures; infinite of what cannot be."""
        key = place.key("trial", words, pictures)
        if key in self.trials:
            track.advance(place.cost(guidance) * pictures)
        else:
            loss = place.loss(guidance, pictures, track)
            row = {"key": key, "place": place.name, "values": words, "pictures": pictures}
            row["loss"] = None if loss == math.inf else loss
            append_row(self.out / TRIALS, row)
            self.trials[key] = row
            self.asked += 1
        found = self.trials[key]["loss"]
        return math.inf if found is None else float(found)

    def measured(self, place: Place, words: list, guidance: Guidance, track: Track) -> Measured:
        """What the test pictures of some guidance measure."""
        key = place.key("test", words)
        if key not in self.tests:
            drawn = place.draw(place.testing, guidance, track)
            measured = place.meter.measure(drawn.pixels)
            write_tensors(self.out, key, measured.tensors())
            row = {"key": key, "place": place.name, "values": words, "evaluations": place.cost(guidance)}
            row["metrics"] = [metric._asdict() for metric in measured.metrics]
            append_row(self.out / TESTS, row)
            self.tests[key] = row
            self.asked += 1
        return read_measured(self.out, self.tests[key])


def _tune(place: Place, memory: _Memory, track: Track) -> Tuned:
    """The best values at a place within the budget."""
    settings, family = place.settings, place.family
    pictures = len(place.tuning.asked.rows)

    def ask(question: Question) -> float:
        values = family.values(question.places)
        track.advance(0, place=place.name)
        return memory.loss(place, list(values), place.guidance(values), question.pictures, track)

    def cost(question: Question) -> int:
        return place.cost(place.guidance(family.values(question.places))) * question.pictures

    trials: list[Trial] = search(
        ask,
        cost,
        len(family.parameters),
        budget=settings.budget,
        pictures=pictures,
        seed=settings.seed,
    )
    best = best_of(trials, pictures)
    if best is None:
        raise UserError(
            f"a budget of {settings.budget:,} network evaluations is too small for one trial of {pictures}"
            " pictures",
            where=place.name,
            remedy="raise --budget, or lower --tuning",
        )
    return Tuned(
        place=place.name,
        values=family.values(best.question.places),
        loss=best.loss,
        static_loss=memory.loss(place, ["static"], place.static, pictures, track),
        trials=len(trials),
        evaluations=sum(cost(trial.question) for trial in trials),
    )


def _transfers(places: list[Place], tuned: list[Tuned], memory: _Memory, track: Track) -> list[Transfer]:
    found: dict[tuple[str, str], Transfer] = {}
    for place, own in zip(places, tuned, strict=True):
        measured: dict[Values, Measured] = {}
        for values in dict.fromkeys([own.values, *(source.values for source in tuned)]):
            if (guidance := place.guidance(values)) is not None:
                measured[values] = memory.measured(place, list(values), guidance, track)
        static = memory.measured(place, ["static"], place.static, track)
        seed = place.settings.seed
        for source in tuned:
            mine = measured.get(source.values)
            found[source.place, place.name] = Transfer(
                tuned=source.place,
                tested=place.name,
                values=source.values,
                metrics=tuple(mine.metrics) if mine else (),
                against_static=differences(mine, static, seed=seed) if mine else {},
                against_own=differences(mine, measured[own.values], seed=seed)
                if mine and source is not own
                else {},
            )
    return [found[source.place, place.name] for source in tuned for place in places]
