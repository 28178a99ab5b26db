"""The tutorial's experiments with guidance, in small: sweeps with one question each, on one model.

`melies guidance experiments --model fashion-mnist`: about 60 cells; with 500 pictures of 28×28 and a model of
1.5 million weights an hour or two on two cores. Which way of guiding wins is not assumed: the records go to
`melies claims guidance`, which says of each sentence whether it holds here.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from melies.diffusion import SCHEDULES
from melies.errors import choose
from melies.images.instruments import short_name
from melies.interfaces import Metric
from melies.metrics.interval import Difference
from melies.recipes.guidance import EXPERIMENTS, PARTS_REMOVED
from melies.recipes.guidance.experiment_settings import ExperimentSettings
from melies.recipes.guidance.experiments_page import write_experiments
from melies.recipes.job import Job
from melies.recipes.sweep.cells import Cell
from melies.recipes.sweep.compare import Result, differences, read_measured
from melies.recipes.sweep.run import SweepReport, open_tools, prepare_sweep, run_sweep
from melies.recipes.sweep.settings import SweepSettings
from melies.report.record import Record, plain_name, record_run, write_record

W = {"static": (2.0, 14.0), "one-liner": (14.0,)}
"""The panels: schedule → its weights w, with scale = 1 + w."""

REMOVED_FROM = 4.0
"""Scale of the runs that a part is taken from."""


BESIDE = {"weight-1": "weight-0", "weight-3": "weight-1", "best-classifier": "best-classifier-free"}
"""Cells that are compared besides, seed by seed, with another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentsReport:
    """What the experiments gave."""

    out: Path
    sweeps: dict[str, SweepReport]
    records: dict[str, Record]
    skipped: dict[str, str]
    """Experiment → why it was not made."""
    seconds: float


def sweep_of(name: str, settings: ExperimentSettings) -> SweepSettings:
    """The sweep that answers an experiment."""
    base = SweepSettings(
        model=settings.model,
        scales=(1.0,),
        steps=(settings.steps,),
        samplers=(settings.sampler,),
        seeds=settings.seeds,
        seed=settings.seed,
        data=settings.data,
        judge=settings.judge,
        features=settings.features,
        weights=settings.weights,
        batch=settings.batch,
    )
    removals = tuple(f"{low:g}:{high:g}" for low, high in PARTS_REMOVED.values())
    table = {
        "weights": replace(base, scales=(1.0, 2.0, 4.0)),
        "panels": replace(base, schedules=tuple(W), scales=(3.0, 15.0)),
        "schedules": replace(
            base,
            schedules=tuple(name for name in SCHEDULES if name != "one-liner"),
            scales=settings.scales,
        ),
        "removed": replace(base, scales=(REMOVED_FROM,), removals=removals),
        "classifier": replace(
            base, methods=("plain", "classifier"), scales=settings.scales, classifier=settings.classifier
        ),
    }
    return choose(name, table, "experiment")


def run_experiments(settings: ExperimentSettings, job: Job, *, command: str = "") -> ExperimentsReport:
    """Make the experiments, one sweep each, and write a record of every cell that a claim may ask for.

    Args:
        settings: What to make.
        job: Where to, whether to go on, and whom to tell.
        command: What makes it again, for the records.

    Raises:
        UserError: If something is not found, or the folder holds other experiments.
    """
    started, sweeps, skipped = time.perf_counter(), {}, {}
    tools = open_tools(sweep_of(settings.only[0], settings), job)
    for name in settings.only:
        if name == "classifier" and settings.classifier is None:
            skipped[name] = "there is no classifier of noisy pictures; give one with --classifier"
            continue
        job.say(f"{name}: {EXPERIMENTS[name]}")
        own = replace(job, out=job.out / name)
        prepared = prepare_sweep(sweep_of(name, settings), own, tools)
        sweeps[name] = run_sweep(prepared, own, command=command)
    records = {}
    for name, report in sweeps.items():
        titled = dict(named_results(name, report.results))
        for title, result in titled.items():
            records[title] = result_record(title, result, settings, command=command)
            if (other := BESIDE.get(title)) and other in titled:
                told = _told(report, result, titled[other], than=other, seed=settings.seed)
                records[title] = replace(records[title], metrics=(*records[title].metrics, *told))
        if name == "schedules":
            records |= compared_records(report, settings, command=command)
    for title, record in records.items():
        write_record(job.out / "records" / f"{title}.json", record)
    write_experiments(job.out, sweeps, skipped, settings)
    return ExperimentsReport(
        out=job.out,
        sweeps=sweeps,
        records=records,
        skipped=skipped,
        seconds=time.perf_counter() - started,
    )


def named_results(name: str, results: Sequence[Result]) -> Iterator[tuple[str, Result]]:
    """The cells of an experiment by what claims call them."""
    for result in results:
        if title := title_of(name, result.cell):
            yield title, result
    if name == "classifier":
        for method, title in (("plain", "best-classifier-free"), ("classifier", "best-classifier")):
            known = [result for result in results if result.cell.method == method and result.cell.is_on]
            if known:
                yield title, min(known, key=lambda result: _distance(result))


def title_of(name: str, cell: Cell) -> str:
    """What claims call a cell; empty for one that none asks for."""
    match name:
        case "weights":
            return f"weight-{cell.scale - 1:g}"
        case "panels":
            return f"panel-{cell.schedule}-{cell.scale - 1:g}" if cell.scale - 1 in W[cell.schedule] else ""
        case "schedules":
            return f"schedule-{cell.schedule}-{cell.scale:g}"
        case "removed":
            part = next((part for part, ends in PARTS_REMOVED.items() if cell.removed == ends), "nothing")
            return f"removed-{part}"
        case _:
            return f"{cell.method}-{cell.scale:g}"


def compared_records(
    report: SweepReport, settings: ExperimentSettings, *, command: str = ""
) -> dict[str, Record]:
    """Each schedule where static guidance is best, and where it is itself, against static guidance there.

    `same-linear` has the mean scale at which static guidance is nearest to real pictures, `best-linear` the
    one that brings linear nearest. Where there are several scales they are picked by the pictures compared.
    """
    best: dict[str, Result] = {}
    for result in report.results:
        of, nearest = result.cell.schedule, best.get(result.cell.schedule)
        if result.cell.scale > 1 and (nearest is None or _distance(result) < _distance(nearest)):
            best[of] = result
    if "static" not in best:
        return {}
    scale, found = best["static"].cell.scale, {}
    same = {result.cell.schedule: result for result in report.results if result.cell.scale == scale}
    named = [("same", *entry) for entry in same.items()] + [("best", *entry) for entry in best.items()]
    for which, schedule, result in named:
        record = result_record(f"{which}-{schedule}", result, settings, command=command)
        if schedule != "static":
            told = _told(report, result, best["static"], than="best static", seed=settings.seed)
            record = replace(record, metrics=(*record.metrics, *told))
        found[record.name] = record
    return found


def _told(report: SweepReport, result: Result, other: Result, *, than: str, seed: int) -> list[Metric]:
    """How much more a cell has of everything than another, seed by seed."""
    first, second = (read_measured(report.out, entry.to_json()) for entry in (result, other))
    return _as_metrics(differences(first, second, seed=seed), result, than)


def _as_metrics(found: Mapping[str, Difference], result: Result, than: str) -> list[Metric]:
    """Differences as metrics, called `FD − static`."""
    metrics = []
    for name, entry in found.items():
        like = result.find(name)
        assert like is not None
        metrics.append(like._replace(name=f"{name} − {than}", value=entry.value, interval=entry.interval))
    return metrics


def result_record(title: str, result: Result, settings: ExperimentSettings, *, command: str) -> Record:
    """The record of a cell, with its differences to static guidance: `FD − static`."""
    metrics = [*result.metrics, *_as_metrics(result.against_static, result, "static")]
    count = result.evaluations
    metrics.append(Metric("evaluations", count, "per picture", False, result.pictures, (count, count), 0))
    return record_run(
        title,
        metrics,
        data={"set": short_name(settings.model), "pictures": result.pictures},
        command=command,
        duration_s=result.seconds,
        notes={"cell": result.cell, "settings": settings},
    )


def _distance(result: Result) -> float:
    return next(metric.value for metric in result.metrics if plain_name(metric.name) in ("FD", "FID"))
