"""What each part of a control branch is for, and what it costs: the same run with one thing changed.

    melies control experiments --model emoji --out runs/control-experiments

Six runs of 64,000 pictures each, seen in batches of 64: on one core of a server's processor some 25 minutes
a run. They share the held-out pairs, which are drawn with the same seeds, so that runs are compared pair by
pair. A run that is done is not made again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from melies.checkpoint import newest_checkpoint
from melies.config import check_positive, check_range, to_json
from melies.errors import UserError, choose
from melies.images.instruments import short_name
from melies.interfaces import Metric
from melies.metrics.measure import measure
from melies.recipes.control import REACHED, STRICT, emoji
from melies.recipes.control.settings import ControlRecipe
from melies.recipes.control.watch import WATCHED
from melies.recipes.job import Job
from melies.report.record import Record, read_record, write_record
from melies.training.log import read_log

RUNS = {
    "branch": "the branch as it is",
    "random-joints": "joints that do not start at zero",
    "unlocked": "the base trained along, with the branch",
    "tuning": "the base tuned, with the hint after its first block, and no branch",
}
"""The runs on all pairs, and what is special about each; those on fewer are called `pairs-N`."""
RECORD = "record.json"
"""The file in a run's folder that says that it is done."""
OF_PAIR = "strict fidelity of each pair"
"""Where a run's record has the numbers by which runs are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlExperiments:
    """Which runs, how long, on what."""

    model: str = "emoji"
    """The base: its name, or the path of a checkpoint."""
    only: tuple[str, ...] = tuple(RUNS)
    """Which of the runs on all pairs; the others are compared with `branch`."""
    pairs: tuple[int, ...] = (1_000, 5_000)
    """Numbers of pairs from which the branch is learned besides; none to leave that out."""
    num_samples: int = 64_000
    """Pictures that each run sees."""
    watch_every: int = 6_400
    """Pictures after which fidelity is looked at."""
    count: int = 300
    """Most held-out pairs on which it is measured at the end."""
    share: float = 0.9
    """Part of the rise in fidelity that both the branch and the tuned base reach, up to which is timed."""
    kinds: tuple[str, ...] = ControlRecipe().kinds
    """Kinds of hint."""
    batch_size: int = 64
    """Pictures of a step."""
    seed: int = 0
    """Of weights, order and noise."""

    def __post_init__(self) -> None:
        """Check the names and ranges."""
        for name in self.only:
            choose(name, RUNS, "run")
        if "branch" not in self.only or len(set(self.only)) < len(self.only):
            raise UserError(f"only = {list(self.only)}", remedy="name each run once, and `branch` with them")
        if len(set(self.pairs)) < len(self.pairs):
            raise UserError(f"pairs = {list(self.pairs)}", remedy="give each number once")
        for number in self.pairs:
            check_positive("pairs", number)
        check_range("share", self.share, low=0, high=1, low_open=True)
        self.recipe("branch")  # which checks the rest

    @property
    def names(self) -> tuple[str, ...]:
        """What the runs are called, in their order."""
        return (*self.only, *(f"pairs-{number}" for number in self.pairs))

    def recipe(self, name: str) -> ControlRecipe:
        """How one of them is trained."""
        base = ControlRecipe()
        training = replace(
            base.training,
            num_samples=self.num_samples,
            preview_every=self.watch_every,
            batch_size=self.batch_size,
            warmup=min(base.training.warmup, self.num_samples // 10),
            ema_half_life=min(base.training.ema_half_life, self.num_samples / 16),
            seed=self.seed,
        )
        return replace(
            base,
            base=self.model,
            kinds=self.kinds,
            zero_joints=name != "random-joints",
            tune_base=name in ("unlocked", "tuning"),
            depth=0 if name == "tuning" else base.depth,
            num_pairs=int(name.removeprefix("pairs-")) if name.startswith("pairs-") else 0,
            num_measured=self.count,
            patience=0,  # all see as many pictures
            training=training,
        )


class Watched(NamedTuple):
    """Fidelity over a run."""

    samples_seen: list[float]
    """At each watch; the first is before the first step."""
    fidelity: list[float]
    """The mean of all kinds, at the usual tolerance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentsReport:
    """What the runs gave."""

    records: dict[str, Record]
    watched: dict[str, Watched]
    target: float | None
    """The fidelity up to which is timed; None without a run that tunes the base."""


def run_experiments(settings: ControlExperiments, job: Job) -> ExperimentsReport:
    """Make the runs that are not made yet, and the record of each beside that of the branch.

    Raises:
        UserError: If something is not found, or the folder holds other runs, or these without `job.resume`.
    """
    begun = [name for name in settings.names if _is_begun(job.out / name)]
    if begun and not job.resume:
        raise UserError(
            f"the folder already holds {', '.join(begun)}",
            where=str(job.out),
            remedy="add --resume, or another --out",
        )
    made, watched = {}, {}
    for name in settings.names:
        job.say(f"{name}: {said(name)}")
        made[name] = run_one(settings, name, job)
        rows = read_log(job.out / name / WATCHED)
        watched[name] = Watched([row["samples_seen"] for row in rows], [row["fidelity"] for row in rows])
    target = common_target(watched, settings.share)
    records = {}
    for name, record in made.items():
        metrics = [*record.metrics, *beside(record, made["branch"], settings.seed)]
        if target is not None:
            metrics += time_to(watched[name], target, record, settings.batch_size)
        notes = {key: value for key, value in record.notes.items() if key != OF_PAIR}
        data = {"set": short_name(settings.model), **record.data}
        records[name] = replace(record, name=name, metrics=tuple(metrics), data=data, notes=notes)
        write_record(job.out / "records" / f"{name}.json", records[name])
    return ExperimentsReport(records=records, watched=watched, target=target)


def run_one(settings: ControlExperiments, name: str, job: Job) -> Record:
    """One run, from where it was stopped; its record alone where it is done.

    Raises:
        UserError: If the folder holds a run of other settings.
    """
    config, out = settings.recipe(name), job.out / name
    file = out / RECORD
    if not file.is_file():
        emoji.train_control(
            config, replace(job, out=out, resume=_is_begun(out)), captions_in=job.out / "captions"
        )
    record = read_record(file)
    if _without_place(record.notes.get("config")) != _without_place(to_json(config)):
        raise UserError(
            "the run was made with other settings", where=str(out), remedy="give those, or another --out"
        )
    return record


def _is_begun(out: Path) -> bool:
    """Whether a folder holds a run, done or not."""
    return (out / RECORD).is_file() or newest_checkpoint(out) is not None


def _without_place(config: Any) -> Any:
    """A recipe with the name of its base alone, since records do not tell where it lay."""
    return {**config, "base": Path(config["base"]).name} if isinstance(config, dict) else config


def said(name: str) -> str:
    """What is special about a run, in words."""
    return RUNS.get(name) or f"the branch, learned from {int(name.removeprefix('pairs-')):,} pairs"


def beside(record: Record, other: Record, seed: int) -> list[Metric]:
    """How much more strictly a run keeps to hints than the branch, and than nine tenths of it, pair by pair.

    Nothing for the branch itself.
    """
    own, theirs = (torch.tensor(one.notes[OF_PAIR], dtype=torch.float64) for one in (record, other))
    if record is other:
        return []
    if len(own) != len(theirs):
        raise UserError(f"{len(own)} pairs were measured, and {len(theirs)} of the branch")

    def of(name: str, values: torch.Tensor) -> Metric:
        return measure(name, torch.mean, values, unit="", higher_is_better=True, seed=seed)

    return [of(f"{STRICT} − branch", own - theirs), of(f"{STRICT} − 90 % of branch", own - 0.9 * theirs)]


def common_target(watched: Mapping[str, Watched], share: float) -> float | None:
    """The fidelity at `share` of the rise that both the branch and the tuned base reach.

    None without both, or where one of them does not rise.
    """
    if "tuning" not in watched:
        return None
    rises = [max(watched[name].fidelity) for name in ("branch", "tuning")]
    start = watched["branch"].fidelity[0]
    return start + share * (min(rises) - start) if min(rises) > start else None


def time_to(watched: Watched, target: float, record: Record, batch_size: int) -> list[Metric]:
    """Pictures and seconds of training until a fidelity is reached; nothing where it never is.

    The value is where the curve of the watches crosses it; the interval goes from the last watch below it to
    the first that is not.
    """
    reached = next((i for i, value in enumerate(watched.fidelity) if value >= target), None)
    if not reached:
        return []
    (before, after), (low, high) = (
        (row[reached - 1], row[reached]) for row in (watched.samples_seen, watched.fidelity)
    )
    crossed = before + (after - before) * (target - low) / (high - low)
    step = own_cost(record, "seconds per step").value / batch_size
    return [
        Metric(f"pictures {REACHED}", crossed, "", False, 1, (before, after), 0),
        Metric(f"seconds {REACHED}", crossed * step, "s", False, 1, (before * step, after * step), 0),
    ]


def own_cost(record: Record, what: str) -> Metric:
    """What a step of the run itself costs, whatever it trained."""
    return next(
        metric
        for metric in record.metrics
        if metric.name.startswith(what) and not metric.name.endswith("tuning the base")
    )
