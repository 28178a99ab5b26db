"""A model of camera paths measured on held-out shots: what it was asked for, CLaTr's space, the character.

`melies camera evaluate MODEL`. All shots are made by rule, and none of them was trained on: the numbers
compare models on this set, and are not those of the data set E.T.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import normalize

from melies import checkpoint
from melies.camera.clatr import CLaTr
from melies.camera.dataset import is_pure, labels_of
from melies.camera.framing import in_view
from melies.camera.generate import draw_paths
from melies.camera.labels import NUM_LABELS, camera_name
from melies.camera.model import CameraDiffusion
from melies.camera.synthesis import SynthesisConfig
from melies.camera.tag import tag_camera
from melies.config import check_positive, check_range
from melies.errors import UserError
from melies.interfaces import Metric
from melies.metrics.labels import confusion, label_scores, measure_labels
from melies.metrics.measure import measure, measure_frechet, measure_prdc, measure_share
from melies.metrics.retrieval import measure_retrieval
from melies.progress import Progress, silent
from melies.recipes.camera.clatr import embed_shots
from melies.recipes.camera.defects import measure_camera_words, measure_halves, measure_seen
from melies.recipes.camera.shots import HELD_OUT_SEED, CaptionedShots, captioned_shots
from melies.report.record import Record, record_run, write_record

PARTS = ("pure", "mixed")
FOLLOWS = "The camera follows the character."
STAYS = "The camera remains static while the character moves."


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraEvaluation:
    """What is measured, and how."""

    model: str = "director"
    """Name or checkpoint of a model of camera paths."""
    clatr: str = "clatr"
    """Name or checkpoint of the CLaTr in whose space distances are taken; empty for none."""
    count: int = 500
    """Held-out shots of each part: pure, of one simple motion, and mixed, of the others."""
    pairs: int = 100
    """Characters that are also seen in a mirror, under the same words."""
    scale: float = 1.4
    """Guidance scale."""
    steps: int = 10
    """Steps of the sampler."""
    seed: int = 0
    """Of the noise and of the resampling; the shots are always the same."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("count", "pairs", "steps"):
            check_positive(name, getattr(self, name))
        check_range("scale", self.scale, low=0)


def evaluate_paths(
    settings: CameraEvaluation,
    out: Path,
    *,
    command: str,
    allow_download: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = print,
) -> Record:
    """Draw held-out shots from their words and characters, measure them, and write `record.json` into `out`.

    Raises:
        UserError: If a model is not found, or of another kind.
    """
    loaded, model = _read(settings.model, CameraDiffusion)
    clatr = _read(settings.clatr, CLaTr)[1] if settings.clatr else None
    for reader in (model, clatr):
        if reader is not None:
            reader.load_text_encoder(allow_download=allow_download, say=say)
    began, metrics = time.perf_counter(), []
    parts = held_out_parts(settings.count, progress=progress)
    by_class: dict[str, dict[str, float]] = {}
    trained_on = parts_of(captioned_shots(3 * settings.count + 50, seed=0, progress=progress), settings.count)
    for part in PARTS:
        found, by_class[part] = _of_part(settings, model, clatr, part, parts[part], progress)
        metrics += found
        if clatr is not None:
            seen = trained_on[part]
            drawn = _drawing(settings, model, progress)(
                seen.captions, [shot.character for shot in seen.shots]
            )
            metrics += measure_seen(clatr, seen, drawn, part, settings.seed)
    metrics += _of_mirrors(settings, model, progress)
    record = record_run(
        f"{settings.model} on shots made by rule",
        metrics,
        data={"shots": {part: len(parts[part]) for part in PARTS}, "held out by seed": HELD_OUT_SEED + 1},
        command=command,
        duration_s=time.perf_counter() - began,
        notes={
            "settings": settings,
            "model": checkpoint.origin(settings.model),
            "clatr": checkpoint.origin(settings.clatr) if settings.clatr else None,
            "C-F1 by motion": by_class,
            "trained": dict(loaded.provenance),
            "num_weights": sum(parameter.numel() for parameter in model.denoiser.parameters()),
        },
    )
    write_record(out / "record.json", record)
    return record


def held_out_parts(count: int, *, progress: Progress = silent) -> dict[str, CaptionedShots]:
    """`count` shots of each part, which neither training nor watching has seen."""
    return parts_of(captioned_shots(3 * count + 50, seed=HELD_OUT_SEED + 1, progress=progress), count)


def parts_of(made: CaptionedShots, count: int) -> dict[str, CaptionedShots]:
    """The first `count` shots of each part."""
    found = {}
    for part in PARTS:
        rows = [
            row for row, shot in enumerate(made.shots) if is_pure(shot.camera_segments) == (part == "pure")
        ][:count]
        found[part] = made.subset(rows)
    return found


def _of_part(
    settings: CameraEvaluation,
    model: CameraDiffusion,
    clatr: CLaTr | None,
    part: str,
    asked: CaptionedShots,
    progress: Progress,
) -> tuple[list[Metric], dict[str, float]]:
    """Everything of one part, and how well each motion of the camera is hit."""
    characters = [shot.character for shot in asked.shots]
    draw = _drawing(settings, model, progress)
    began = time.perf_counter()
    drawn = draw(asked.captions, characters)
    took = 1000 * (time.perf_counter() - began) / len(drawn)
    # Each sentence goes to another shot; who reads it not loses nothing.
    others = draw([*asked.captions[1:], asked.captions[0]], characters)
    # Each camera films somebody else's way, and is judged by who should have been there.
    strangers = draw(asked.captions, [lasting(*one) for one in _other_tracks(characters)])
    truth = [torch.from_numpy(labels_of(shot.camera_segments)) for shot in asked.shots]
    metrics = [
        *_labels(f"{part}: C", truth, drawn, model, settings.seed),
        _labels(f"{part}, shuffled text: C", truth, others, model, settings.seed)[2],
        _labels(f"{part}, shuffled characters: C", truth, strangers, model, settings.seed)[2],
    ]
    follows = [i for i, shot in enumerate(asked.shots) if shot.follows]
    if len(follows) >= 20:
        led = [truth[i] for i in follows]
        for name, paths in (("", drawn), (", shuffled characters", strangers)):
            some = [paths[i] for i in follows]
            metrics.append(_labels(f"{part}, camera follows{name}: C", led, some, model, settings.seed)[2])
    for phases in sorted({len(shot.camera_segments) for shot in asked.shots}):
        rows = [i for i, shot in enumerate(asked.shots) if len(shot.camera_segments) == phases]
        if part == "mixed" and len(rows) >= 20:
            some = [truth[i] for i in rows], [drawn[i] for i in rows]
            metrics.append(_labels(f"{part}, phases {phases}: C", *some, model, settings.seed)[2])
    real = [shot.world_from_camera for shot in asked.shots]
    for whose, paths in (("drawn", drawn), ("shuffled characters", strangers), ("real", real)):
        outside = torch.tensor(
            [1 - in_view(path, track).mean() for path, track in zip(paths, characters, strict=True)]
        )
        metrics.append(_mean(f"{part}, {whose}: off-screen", outside, "share", False, settings.seed))
        shaking = torch.tensor([jerk(path, model.config.fps) for path in paths])
        metrics.append(_mean(f"{part}, {whose}: jerk", shaking, "m/s³", False, settings.seed))
    if clatr is not None:
        metrics += _in_space(clatr, part, asked, drawn, settings.seed)
        metrics += measure_halves(model, clatr, part, asked, drawn, settings.seed)
        metrics += measure_camera_words(clatr, part, asked, drawn, settings.seed)
    took_each = Metric(f"{part}: drawing time", took, "ms/shot", False, len(drawn), (took, took), 0)
    return [*metrics, took_each], _by_class(truth, drawn, model)


def _other_tracks(tracks: Sequence[ndarray]) -> list[tuple[ndarray, int]]:
    """To each shot the track of the next, and how many frames it has to fill."""
    return [(other, len(own)) for own, other in zip(tracks, [*tracks[1:], tracks[0]], strict=True)]


def lasting(track: ndarray, frames: int) -> ndarray:
    """A track cut, or standing still at its end, so that it lasts so many frames."""
    return np.concatenate([track[:frames], np.repeat(track[-1:], max(frames - len(track), 0), axis=0)])


def _by_class(truth: Sequence[Tensor], paths: Sequence[ndarray], model: CameraDiffusion) -> dict[str, float]:
    """F1 of each motion that is asked for."""
    found = [torch.from_numpy(tag_camera(path, model.config.fps)) for path in paths]
    counts = sum(confusion(a, b, NUM_LABELS) for a, b in zip(truth, found, strict=True))
    scores = label_scores(counts)  # type: ignore[arg-type]
    asked = counts.sum(1) > 0  # type: ignore[union-attr]
    return {
        camera_name(label): round(float(scores.f1[label]), 4) for label in range(NUM_LABELS) if asked[label]
    }


def _in_space(
    clatr: CLaTr, part: str, asked: CaptionedShots, drawn: Sequence[ndarray], seed: int
) -> list[Metric]:
    """Distances to the shots that were made, and how well paths fit their words, in CLaTr's space."""
    real, texts = embed_shots(clatr, asked)
    ours, _ = embed_shots(clatr, asked.with_paths(drawn))
    fd = measure_frechet(ours, real, name=f"{part}: FD[clatr]", seed=seed)
    shares = measure_prdc(ours, real, k=3, seed=seed)
    swapped = measure_prdc(real, ours, k=3, seed=seed)
    words = normalize(texts, dim=-1)
    return [
        fd,
        *(one._replace(name=f"{part}: {one.name}") for one in shares),
        *(one._replace(name=f"{part}, roles as published: {one.name}") for one in swapped),
        *(
            _mean(
                f"{part}, {whose}: CLaTr-score",
                100 * (normalize(paths, dim=-1) * words).sum(1).clamp(min=0),
                "",
                True,
                seed,
            )
            for whose, paths in (("drawn", ours), ("real", real))
        ),
        *measure_retrieval(f"{part}, real: path to caption", normalize(real, dim=-1) @ words.T, seed=seed),
        *measure_retrieval(f"{part}, real: caption to path", words @ normalize(real, dim=-1).T, seed=seed),
    ]


def _of_mirrors(settings: CameraEvaluation, model: CameraDiffusion, progress: Progress) -> list[Metric]:
    """Under the same words and noise, what a character that goes the other way does to the camera."""
    made = captioned_shots(
        8 * settings.pairs, seed=HELD_OUT_SEED + 2, config=SynthesisConfig(follow=0.0), progress=progress
    )
    tracks = [shot.character for shot in made.shots if abs(shot.character[-1, 0]) > 0.8][: settings.pairs]
    if len(tracks) < settings.pairs:
        raise UserError(f"only {len(tracks)} of {settings.pairs} characters go to a side")
    turned = [track * [-1.0, 1.0, 1.0] for track in tracks]
    draw = _drawing(settings, model, progress)
    found = []
    for name, words, beside in (("follows", FOLLOWS, False), ("stays", STAYS, True)):
        ways = []
        for characters in (tracks, turned):
            paths = draw([words] * len(characters), characters)
            ways.append([_sideways(*one, beside=beside) for one in zip(paths, characters, strict=True)])
        flipped = torch.tensor([one * other < 0 for one, other in zip(*ways, strict=True)])
        found.append(measure_share(f"mirrored character, camera {name}: lateral motion flips", flipped))
    return found


def _sideways(path: ndarray, track: ndarray, *, beside: bool) -> float:
    """How far the camera goes to the right, or beside its character, metres."""
    moved = path[-1, 0, 3] - path[0, 0, 3]
    return float(moved - (track[-1, 0] - track[0, 0]) if beside else moved)


def jerk(path: ndarray, fps: float) -> float:
    """Mean size of the third derivative of the position, m/s³; 0 for fewer than four frames."""
    third = np.diff(path[:, :3, 3], n=3, axis=0) * fps**3
    return float(np.linalg.norm(third, axis=1).mean()) if len(third) else 0.0


def _drawing(settings: CameraEvaluation, model: CameraDiffusion, progress: Progress):
    def draw(prompts: Sequence[str], characters: Sequence[ndarray]) -> list[ndarray]:
        first = settings.seed * 1_000_000
        return draw_paths(
            model,
            prompts,
            characters,
            scale=settings.scale,
            num_steps=settings.steps,
            seeds=range(first, first + len(prompts)),
            progress=progress,
        )

    return draw


def _labels(
    name: str, truth: Sequence[Tensor], paths: Sequence[ndarray], model: CameraDiffusion, seed: int
) -> list[Metric]:
    found = [torch.from_numpy(tag_camera(path, model.config.fps)) for path in paths]
    return measure_labels(name, truth, found, num_labels=NUM_LABELS, seed=seed)


def _mean(name: str, values: Tensor, unit: str, higher_is_better: bool, seed: int) -> Metric:
    return measure(name, torch.mean, values, unit=unit, higher_is_better=higher_is_better, seed=seed)


def _read(name: str, kind: type) -> tuple[checkpoint.Loaded, Any]:
    loaded = checkpoint.load(name)
    if not isinstance(loaded.model, kind):
        raise UserError(f"not a {kind.__name__}", where=name)
    return loaded, loaded.model.to("cuda" if torch.cuda.is_available() else "cpu")
