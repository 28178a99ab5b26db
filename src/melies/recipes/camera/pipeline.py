"""The way from reconstructed shots to samples, scored where the truth is known.

`melies camera dataset score`. Shots made by rule are spoiled as a reconstruction spoils them, in windows of
other scales and origins with noise, jumps and gaps, and are then joined, cleaned, cut and tagged like any
other.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray

from melies.camera.chunks import CLEAN, Chunk, SpoilingConfig, find_chunks, spoil_shot
from melies.camera.clean import CleaningConfig
from melies.camera.dataset import labels_of
from melies.camera.synthesis import Shot, synthesize
from melies.camera.tag import tag_camera, tag_character
from melies.config import check_positive
from melies.interfaces import Metric
from melies.metrics.measure import measure
from melies.progress import Progress, silent
from melies.recipes.camera.shots import HELD_OUT_SEED
from melies.report.record import Record, record_run, write_record


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineScore:
    """What is scored."""

    count: int = 500
    """Shots."""
    spoiling: SpoilingConfig = SpoilingConfig()
    """What is wrong with the reconstruction."""
    cleaning: CleaningConfig = CleaningConfig()
    """How it is made good."""
    seed: int = 0
    """Of what is wrong; the shots are always the same."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_positive("count", self.count)


class ShotScore(NamedTuple):
    """What came back of one shot."""

    kept: float
    """Share of its frames."""
    pieces: int
    """Samples it came to."""
    error: float
    """Root mean square distance of the camera's positions, each sample moved onto the truth, metres; NaN
    where there is none, as are the next two."""
    camera: float
    """Share of the frames of samples in which the camera's motion is that of the truth."""
    character: float
    """The same of the character's."""


def score_pipeline(
    settings: PipelineScore, out: Path, *, command: str, progress: Progress = silent
) -> Record:
    """Spoil shots, bring them back, compare them with the truth, and write `record.json` into `out`."""
    began, metrics = time.perf_counter(), []
    shots = list(synthesize(settings.count, seed=HELD_OUT_SEED + 3))
    unsmoothed = replace(settings.cleaning, measurement_std=0)
    cases = {
        "clean": (CLEAN, settings.cleaning),
        "spoiled": (settings.spoiling, settings.cleaning),
        "spoiled, not smoothed": (settings.spoiling, unsmoothed),
    }
    for name, (spoiling, cleaning) in cases.items():
        rng = np.random.default_rng(settings.seed)
        with progress(f"scoring {name} shots", total=len(shots), unit="shots") as track:
            scores = []
            for shot in shots:
                scores.append(score_shot(shot, find_chunks(spoil_shot(shot, spoiling, rng), cleaning)))
                track.advance(1)
        metrics += _metrics(name, scores, settings.seed)
    record = record_run(
        "from reconstructed shots to samples, shots made by rule",
        metrics,
        data={"shots": len(shots), "by seed": HELD_OUT_SEED + 3},
        command=command,
        duration_s=time.perf_counter() - began,
        notes={"settings": settings},
    )
    write_record(out / "record.json", record)
    return record


def score_shot(shot: Shot, chunks: list[Chunk]) -> ShotScore:
    """What came back of a shot, beside what it was."""
    truths = (labels_of(shot.camera_segments), labels_of(shot.character_segments))
    kept, squares = 0, 0.0
    right, of = np.zeros(2), 0
    for chunk in chunks:
        n = len(chunk.world_from_camera)
        true = shot.world_from_camera[chunk.start : chunk.start + n, :3, 3]
        squares += _squares(chunk.world_from_camera[:, :3, 3], true)
        found = tag_camera(chunk.world_from_camera), tag_character(chunk.character)
        steps = slice(chunk.start, chunk.start + n - 1)
        right += [(ours == truth[steps]).sum() for ours, truth in zip(found, truths, strict=True)]
        kept, of = kept + n, of + n - 1
    nothing = float("nan")
    camera, character = right / of if of else (nothing, nothing)
    return ShotScore(
        kept=kept / len(shot.world_from_camera),
        pieces=len(chunks),
        error=float(np.sqrt(squares / kept)) if kept else nothing,
        camera=float(camera),
        character=float(character),
    )


def _squares(path: ndarray, truth: ndarray) -> float:
    """Sum of squared distances; a sample has its own origin, and the axes of its shot."""
    apart = path - truth
    return float(((apart - apart.mean(0)) ** 2).sum())


def _metrics(name: str, scores: list[ShotScore], seed: int) -> list[Metric]:
    columns = {field: torch.tensor([getattr(one, field) for one in scores]) for field in ShotScore._fields}
    found = ~columns["error"].isnan()
    named = (
        ("frames kept", columns["kept"], "share", True),
        ("shots in one piece", (columns["pieces"] == 1).float(), "share", True),
        ("trajectory error", 1000 * columns["error"][found], "mm", False),
        ("camera tags as the truth", columns["camera"][found], "share", True),
        ("character tags as the truth", columns["character"][found], "share", True),
    )
    return [
        measure(f"{name}: {what}", torch.mean, values, unit=unit, higher_is_better=better, seed=seed)
        for what, values, unit, better in named
    ]
