"""Climb the ladder: plan, train and measure rung after rung, and write the page."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from melies.checkpoint import newest_checkpoint
from melies.data.places import find_or_make
from melies.data.sets import Parts, read_parts
from melies.errors import UserError, nearest
from melies.images.families import Family, open_family
from melies.progress import Track, duration, silent
from melies.recipes.job import Job
from melies.recipes.ladder import BETAS, RUNGS, SETS
from melies.recipes.ladder.drawn import draw_many, read_drawn, write_drawn
from melies.recipes.ladder.measure import measure_drawn, measure_training
from melies.recipes.ladder.own import measure_own
from melies.recipes.ladder.page import failure, real_record, write_figures, write_ladder_page
from melies.recipes.ladder.plan import Plan, Planned, Runs, Stage, log_of, make_plan, read_plan, write_plan
from melies.recipes.ladder.settings import LadderSettings
from melies.recipes.ladder.show import make_figures
from melies.recipes.ladder.stages import runs_of, shape_of, sweep_name
from melies.recipes.ladder.sweep import SWEEP, measure_sweep
from melies.recipes.ladder.train import train_run
from melies.recipes.ladder.yardstick import Yardstick, build_yardstick
from melies.report.record import Record, read_record, record_run, write_record

SHARES = {sweep_name(beta): 1 / len(BETAS) for beta in BETAS}
"""Of a rung's minutes, for the runs of the sweep: together they get as many as a rung."""

REAL_RECORD = "real"
"""The record of what real pictures measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderReport:
    """What a ladder wrote."""

    records: Mapping[str, Record]
    """By rung, in the order of the tutorial; the sweep over β last."""
    page: Path
    seconds: float
    """Since it was begun or gone on with."""


def run_ladder(settings: LadderSettings, job: Job, *, command: str = "") -> LadderReport:
    """Train every rung for the same minutes, measure all with one yardstick, and write records and a page.

    Rungs that were finished before are not trained again; one whose loss is not finite is recorded as
    failed, and the others go on.

    Args:
        settings: What to climb.
        job: Where to, whether to go on, and whom to tell.
        command: What makes the records again, for the records.

    Raises:
        UserError: If the pictures are not what is needed, the folder holds a ladder and is not to be
            gone on with, or one of other settings.
    """
    started = time.perf_counter()
    plan_file = plan_of(job.out)
    if plan_file.exists() and not job.resume:
        raise UserError(
            "the folder already holds a ladder", where=str(job.out), remedy="add --resume, or another --out"
        )
    known = read_plan(plan_file, settings) if plan_file.exists() else {}
    parts = read_pictures(settings, job)
    shape = shape_of(parts.train)
    runs = runs_of(settings.chosen, shape, seed=settings.seed)
    job.say(
        f"{settings.set_name}: {len(parts.train):,} training and {len(parts.test):,} test pictures of"
        f" {len(parts.train.classes)} classes, {shape.size}×{shape.size}"
    )
    training = replace(job, out=job.out / "runs", pictures=parts.train, say=lambda message: None)
    yard = build_yardstick(settings, parts, job)
    climb = _Climb(settings, job, training, parts, yard, known, command)
    with _bar(job, runs, climb) as track:
        for name, stages in runs.items():
            climb.run(name, stages, track)
        if "vae" in runs:
            climb.sweep()
    records = {name: climb.record_of(name) for name in (*RUNGS, SWEEP) if climb.finished(name)}
    write_record(climb.record_file(REAL_RECORD), real_record(list(records.values())))
    figures = make_figures(climb.families(), climb.drawn(), yard, records)
    write_figures(job.out / "figures", figures)
    page = write_ladder_page(job.out / "ladder.html", records, figures, about=_about(settings, parts, yard))
    return LadderReport(records=records, page=page, seconds=time.perf_counter() - started)


def read_pictures(settings: LadderSettings, job: Job) -> Parts:
    """The training and test part of the pictures that settings name.

    Raises:
        UserError: If there are none, of mixed sizes or of fewer than two classes.
    """
    prepared = settings.data in SETS
    if not prepared and not settings.data.startswith("hf:") and not Path(settings.data).expanduser().exists():
        guess = nearest(settings.data, SETS)
        raise UserError(
            "there is no such file or folder",
            where=settings.data,
            remedy=f"did you mean {guess!r}?" if guess else f"give a path, or one of {', '.join(SETS)}",
        )
    source = find_or_make(
        settings.data if prepared else next(iter(SETS)), None if prepared else settings.data
    )
    return read_parts(source, size=settings.size, progress=job.progress, say=job.say)


class _Climb:
    """One ladder on its way: where things are, and what is done."""

    def __init__(
        self,
        settings: LadderSettings,
        job: Job,
        training: Job,
        parts: Parts,
        yard: Yardstick,
        plan: Plan,
        command: str,
    ) -> None:
        self.settings, self.job, self.training = settings, job, training
        self.parts, self.yard, self.plan, self.command = parts, yard, plan, command

    def finished(self, name: str) -> bool:
        """Whether a rung, or a run of the sweep, need not be trained."""
        return self.record_file(name).exists()

    def record_of(self, name: str) -> Record:
        return read_record(self.record_file(name))

    def run(self, name: str, stages: tuple[Stage, ...], track: Track) -> None:
        """Train a run and, where it is a rung, measure it; one that fails is recorded."""
        if self.finished(name if name in RUNGS else SWEEP):
            return
        try:
            planned = self._planned(name, stages, track)
            seconds = train_run(name, stages, planned, self.training, track)
        except FloatingPointError as error:
            self.job.say(f"{name} failed: {error}")
            if name in RUNGS:
                self._write(name, [], 0.0, failed=str(error))
            return
        if name in RUNGS:
            self.job.say(f"{name} trained in {duration(seconds)}; measuring")
            self._write(name, self._measure(name, seconds), seconds, planned=planned)

    def sweep(self) -> None:
        """Measure what the sweep over β has trained."""
        if self.finished(SWEEP):
            return
        folders = {beta: self.training.out / sweep_name(beta) for beta in BETAS}
        found = {
            beta: open_family(folder)
            for beta, folder in folders.items()
            if newest_checkpoint(folder) is not None
        }
        metrics = measure_sweep(found, self.parts.test, seed=self.settings.seed)
        self._write(SWEEP, metrics, 0.0)

    def families(self) -> dict[str, Family]:
        """Every rung that was trained, opened."""
        return {name: self._open(name) for name in RUNGS if self.finished(name) and not self._failed(name)}

    def drawn(self) -> dict[str, Any]:
        """What these have drawn."""
        return {name: read_drawn(self._drawn_file(name)) for name in self.families()}

    def _planned(self, name: str, stages: tuple[Stage, ...], track: Track) -> tuple[Planned, ...]:
        """How long to train a run: what was written before, or by its speed now, right before it begins."""
        if name not in self.plan:
            track.advance(0, timing=name)
            self.plan = make_plan(
                {name: stages},
                replace(self.training, progress=silent),
                minutes=self.settings.minutes,
                known=self.plan,
                shares=SHARES,
                as_fast_as=dict.fromkeys(SHARES, "vae"),
            )
            write_plan(plan_of(self.job.out), self.settings, self.plan)
        return self.plan[name]

    def _measure(self, name: str, seconds: float) -> list:
        family, seed = self._open(name), self.settings.seed
        drawn = draw_many(family, self.settings.num_drawn, seed=seed)
        write_drawn(self._drawn_file(name), drawn)
        metrics = measure_drawn(drawn, self.yard, seed=seed, say=self.job.say)
        log = log_of(self.training.out / name)
        metrics += measure_training(family, log, seconds=seconds, drawn=drawn, seed=seed)
        return metrics + measure_own(family, self.yard, log, self.settings)

    def _write(self, name: str, metrics: list, seconds: float, **notes: Any) -> None:
        settings, parts = self.settings, self.parts
        record = record_run(
            name,
            metrics,
            data={
                "set": settings.set_name,
                "reference": "test pictures",
                "training": len(parts.train),
                "test": len(parts.test),
                "classes": len(parts.train.classes),
            },
            command=self.command,
            duration_s=seconds,
            notes={
                "settings": settings,
                "minutes": settings.minutes,
                "features": self.yard.space.name,
                "judge": self.yard.judge.name,
                **notes,
            },
        )
        write_record(self.record_file(name), record)

    def _open(self, name: str) -> Family:
        return open_family(self.training.out / name, scale=self.settings.scale, num_steps=self.settings.steps)

    def _failed(self, name: str) -> bool:
        return bool(failure(self.record_of(name)))

    def record_file(self, name: str) -> Path:
        """Where the record of a rung lies."""
        return self.job.out / "records" / f"{name}.json"

    def _drawn_file(self, name: str) -> Path:
        return self.job.out / "drawn" / f"{name}.safetensors"


def plan_of(folder: Path) -> Path:
    """Where a ladder keeps its plan."""
    return folder / "plan.json"


def _bar(job: Job, runs: Runs, climb: _Climb) -> AbstractContextManager[Track]:
    """The whole ladder's bar, in seconds of training."""
    seconds = {name: 60 * climb.settings.minutes * SHARES.get(name, 1.0) for name in runs}
    done = sum(spent for name, spent in seconds.items() if climb.finished(name if name in RUNGS else SWEEP))
    return job.progress("ladder", total=sum(seconds.values()), unit="s of training", done=done)


def _about(settings: LadderSettings, parts: Parts, yard: Yardstick) -> list[str]:
    return [
        f"Every rung was trained on as many pictures as it sees in {settings.minutes:g} minutes on this"
        f" machine, drawn from {len(parts.train):,} of {len(parts.train.classes)} classes, and drew"
        f" {settings.num_drawn:,}, which were compared with {len(parts.test):,} that no rung has seen.",
        f"Distances are between features ({yard.space.name}); what a picture shows is said by a classifier"
        f" that was trained apart from them ({yard.judge.name}). In features of a classifier of this data FD"
        " compares rungs, and is not the FID. Intervals are 95 %; the last row is of real pictures:"
        " distances are those of training pictures, as many as were drawn, the rest is of the unseen ones.",
    ]
