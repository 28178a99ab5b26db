"""Train one run of the ladder by its plan, and tell the whole ladder's progress of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from melies.progress import Progress, Track
from melies.recipes.job import Job
from melies.recipes.ladder.plan import Planned, Stage, with_length
from melies.training.log import read_log


def train_run(
    name: str, stages: tuple[Stage, ...], planned: tuple[Planned, ...], job: Job, track: Track
) -> float:
    """Train every stage of a run, or go on with it; the seconds of training that it took.

    The last stage's folder is `out/NAME`, that of an earlier one `out/NAME-STAGE`.

    Args:
        name: Of the run.
        stages: What to train.
        planned: How long.
        job: Where the pictures are and where the runs go.
        track: The ladder's bar, in seconds of training.

    Raises:
        FloatingPointError: If a loss or a gradient is not finite.
    """
    start_from, spent = None, 0.0
    for stage, length in zip(stages, planned, strict=True):
        out = job.out / (f"{name}-{stage.name}" if stage.name else name)
        part = replace(
            job,
            out=out,
            start_from=start_from,
            resume=True,  # the folder is the ladder's own
            progress=within(track, 1 / length.speed, name),
            say=lambda message: None,
        )
        spent += stage.run(with_length(stage.config, length.num_samples), part).seconds
        start_from = str(out)
    return spent


def within(track: Track, seconds_each: float, name: str) -> Progress:
    """Progress of a part as progress of the whole: what the part counts moves the outer bar on.

    Only training counts; reading pictures and the like is not on the bar.
    """

    @contextmanager
    def progress(title: str, *, total: float, unit: str = "step", done: float = 0.0) -> Iterator[Track]:
        class _Inner:
            def advance(self, amount: float = 1.0, **fields: object) -> None:
                if title == "training":
                    track.advance(amount * seconds_each, rung=name, **fields)

        if title == "training" and done:
            track.advance(done * seconds_each, rung=name)
        yield _Inner()

    return progress


def lead(log: Path) -> list[float]:
    """How far the discriminator's logits of real pictures lie above those of drawn ones, in nats.

    One number for each line of the second half of the training; empty for what is no GAN.
    """
    rows = [row for row in read_log(log) if "logit_real" in row]
    return [row["logit_real"] - row["logit_fake"] for row in rows[len(rows) // 2 :]]


def speeds(log: Path) -> list[float]:
    """Pictures per second between every two lines of a log."""
    return [
        (after["samples_seen"] - before["samples_seen"]) / (after["seconds"] - before["seconds"])
        for before, after in pairwise(read_log(log))
        if after["seconds"] > before["seconds"]
    ]
