"""How many pictures each rung sees: its speed, timed on this machine, times the minutes it is given.

The numbers are kept in `plan.json`, so that a ladder that goes on trains exactly what it would have.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from melies.config import to_json
from melies.errors import UserError
from melies.files import read_text, write_text
from melies.recipes.job import Job
from melies.recipes.ladder.settings import LadderSettings
from melies.training.log import read_log

FORMAT = 1
WARM_UP_S = (1.5, 10.0)
"""Shortest and longest timed run, in seconds of training; a tenth of a stage's time between them."""

CHECKPOINT_EVERY_S = 60.0
"""What a ladder that is stopped has to do again, at most."""


class Stage(NamedTuple):
    """One training of a rung; a rung of two stages splits its minutes between them."""

    name: str
    """Empty for the last stage, whose run folder is the rung's model."""
    share: float
    """Of the rung's minutes."""
    config: Any
    """A recipe's config, with its `training`."""
    run: Callable[[Any, Job], Any]
    """The recipe."""


Runs = Mapping[str, tuple[Stage, ...]]
"""What is trained, by name, and in which stages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One stage, as it will be trained."""

    speed: float
    """Pictures per second of training, timed."""
    num_samples: int
    """Pictures to see."""

    @property
    def seconds(self) -> float:
        """Of training, as far as the speed tells."""
        return self.num_samples / self.speed


Plan = dict[str, tuple[Planned, ...]]
"""The stages of every run, by its name."""


def make_plan(
    runs: Runs,
    job: Job,
    *,
    minutes: float,
    known: Plan | None = None,
    shares: Mapping[str, float] | None = None,
    as_fast_as: Mapping[str, str] | None = None,
) -> Plan:
    """Time every stage that is not in `known`, and give it as many pictures as fit its minutes.

    Args:
        runs: What is to be trained.
        job: Where the pictures are; the timed runs go into a folder below `out`, and are removed.
        minutes: Of training for each run.
        known: What was planned before, and stays as it is.
        shares: Of the minutes, for runs that are given less.
        as_fast_as: Run → another of the same networks, whose speed it has.
    """
    plan = dict(known or {})
    folder = job.out / "warm-up"
    for name, stages in runs.items():
        if name in plan:
            continue
        same = plan.get((as_fast_as or {}).get(name, ""))
        timed, start_from = [], None
        for number, stage in enumerate(stages):
            seconds = 60 * minutes * (shares or {}).get(name, 1.0) * stage.share
            if same is not None:
                speed = same[number].speed
            else:
                part = replace(job, out=folder / f"{name}-{number}", start_from=start_from)
                speed = time_stage(stage, part, seconds=min(max(seconds / 10, WARM_UP_S[0]), WARM_UP_S[1]))
                start_from = str(part.out)
            size = stage.config.training.batch_size
            timed.append(Planned(speed=speed, num_samples=max(1, round(speed * seconds / size)) * size))
        plan[name] = tuple(timed)
    shutil.rmtree(folder, ignore_errors=True)
    return plan


def time_stage(stage: Stage, job: Job, *, seconds: float) -> float:
    """Pictures per second of a stage's training, once it has got going.

    It trains ever longer until the part after the first quarter has taken `seconds`; what it has then
    trained is left in the job's folder.
    """
    size, batches = stage.config.training.batch_size, 8
    while True:
        shutil.rmtree(job.out, ignore_errors=True)
        config = with_length(stage.config, batches * size, log_every=1)
        share = share_of_machine(partial(stage.run, config, replace(job, resume=False)))
        rows = read_log(log_of(job.out))
        rows = rows[len(rows) // 4 :]
        spent = share * (rows[-1]["seconds"] - rows[0]["seconds"])
        if spent >= 0.7 * seconds or batches >= 1 << 20:
            return (rows[-1]["samples_seen"] - rows[0]["samples_seen"]) / max(spent, 1e-9)
        batches = int(batches * min(10.0, max(1.5, 1.4 * seconds / max(spent, 0.01))))


def share_of_machine(call: Callable[[], Any]) -> float:
    """The share of the time of a call in which it computed, at most 1: less where others were at work too.

    So a rung that is timed while the machine is busy gets what it would get of an idle one. Where an
    accelerator computes, the processor's time tells nothing, and the share is 1.
    """
    wall, computing = time.perf_counter(), time.process_time()
    call()
    wall, computing = time.perf_counter() - wall, time.process_time() - computing
    return 1.0 if torch.cuda.is_available() else min(1.0, computing / max(wall, 1e-9))


def log_of(folder: Path) -> Path:
    """The log of a stage's run; one that trains a part of a model keeps it in a folder below its own."""
    return next(iter(sorted(folder.rglob("log.jsonl"))), folder / "log.jsonl")


def with_length(config: Any, num_samples: int, *, log_every: int | None = None) -> Any:
    """A recipe's config for a run of another length: what is counted in pictures shrinks where it must."""
    training = config.training
    return replace(
        config,
        training=replace(
            training,
            num_samples=num_samples,
            warmup=min(training.warmup, num_samples // 20),
            ema_half_life=min(training.ema_half_life, max(1.0, num_samples / 20)),
            log_every=log_every or max(training.batch_size, num_samples // 100),
            preview_every=0,
            checkpoint_every_s=min(training.checkpoint_every_s, CHECKPOINT_EVERY_S),
        ),
    )


def write_plan(path: Path, settings: LadderSettings, plan: Plan) -> Path:
    """Keep a plan with the settings that it was made for."""
    content = {
        "format": FORMAT,
        "settings": to_json(settings),
        "runs": {name: [to_json(stage) for stage in stages] for name, stages in plan.items()},
    }
    return write_text(path, json.dumps(content, indent=1) + "\n")


def read_plan(path: Path, settings: LadderSettings) -> Plan:
    """The plan in a file; more rungs may have come since.

    Raises:
        UserError: If it cannot be read, or was made for other settings.
    """
    try:
        content = json.loads(read_text(path))
        written, runs = dict(content["settings"]), content["runs"]
        plan = {name: tuple(Planned(**stage) for stage in stages) for name, stages in runs.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"not the plan of a ladder: {error}", where=str(path)) from None
    asked = to_json(settings)
    for name, value in asked.items():
        if name != "rungs" and written.get(name) != value:
            raise UserError(
                f"the ladder there has {name} = {written.get(name)}, and not {value}",
                where=str(path.parent),
                remedy="give the same options with --resume, or another --out",
            )
    return plan
