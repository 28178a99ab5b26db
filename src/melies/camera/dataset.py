"""Sets of shots in E.T.'s layout: made by rule, and counted."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from melies.camera.caption import follow_caption, write_caption
from melies.camera.et import Sample, path_of, read_samples, write_sample, write_splits
from melies.camera.labels import signs_of
from melies.camera.synthesis import Shot, SynthesisConfig, synthesize
from melies.camera.tag import FPS, Segment
from melies.errors import UserError
from melies.files import write_text
from melies.progress import Progress, silent

UNSAID = 0.4
"""Share of the shots with a camera that follows its character whose caption does not say where to."""
HELD_OUT = 10
"""One of so many shots is for testing."""
INTRINSICS = (1500.0, 1500.0, 960.0, 540.0)
"""SLAHMR's guess of a picture of 1920×1080: (width + height)/2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetStatistics:
    """What the tables of papers say of a set."""

    samples: int
    frames: int
    hours: float
    captions: int
    vocabulary: int
    """Different words of all captions."""
    motions: dict[str, int]
    """Samples of one, two, … motions of the camera."""


def is_pure(segments: Sequence[Segment]) -> bool:
    """Whether a camera makes one simple motion, along one axis or none, all the time."""
    return len(segments) == 1 and int(np.abs(signs_of(segments[0].label)).sum()) <= 1


def caption_of(
    camera: Sequence[Segment], character: Sequence[Segment], rng: np.random.Generator, *, unsaid: bool
) -> str:
    """A sentence for a shot; where the camera follows it may be `unsaid` where to."""
    if unsaid:
        return follow_caption(camera, character, rng)
    return write_caption(camera, character, rng=rng)


def labels_of(segments: Sequence[Segment]) -> np.ndarray:
    """(n − 1,) int64: the label of every step."""
    return np.concatenate([np.full(one.end - one.start, one.label, np.int64) for one in segments])


def synthesize_set(
    root: Path, count: int, *, seed: int, config: SynthesisConfig | None = None, progress: Progress = silent
) -> SetStatistics:
    """Write `count` shots made by rule into a folder that is new or empty; `gt/` says what they are made of.

    Raises:
        UserError: If there is something in the folder, or shots cannot be made.
    """
    if root.exists() and any(root.iterdir()):
        raise UserError("there is something in it", where=str(root), remedy="give a folder that is new")
    rng = np.random.default_rng([seed, 1])
    splits: dict[str, list[str]] = {}
    with progress("making shots", total=count, unit="shots") as track:
        for index, shot in enumerate(synthesize(count, seed=seed, config=config)):
            name = f"{seed:04d}_made{index:07d}_00000_00000"
            write_sample(root, _sample(name, shot, rng))
            truth = {
                "camera": [one._asdict() for one in shot.camera_segments],
                "character": [one._asdict() for one in shot.character_segments],
                "follows": shot.follows,
            }
            write_text(root / "gt" / f"{name}.json", json.dumps(truth) + "\n")
            part = "test" if index % HELD_OUT == HELD_OUT - 1 else "train"
            for kind in ("full", "mixed", *(("pure",) if is_pure(shot.camera_segments) else ())):
                splits.setdefault(f"{kind}_{part}", []).append(name)
            clatr = part if part == "train" else "val" if (index // HELD_OUT) % 2 else "test"
            splits.setdefault(f"clatr_{clatr}", []).append(name)
            track.advance(1)
    write_splits(root, splits)
    return count_set(root)


def count_set(root: Path, split: str | None = None) -> SetStatistics:
    """The columns that papers tell of a set.

    Raises:
        UserError: If the folder is no set, or a sample is damaged; it is named.
    """
    samples = frames = captions = 0
    words: set[str] = set()
    motions: Counter[int] = Counter()
    for sample in read_samples(root, split):
        samples += 1
        frames += len(sample.path)
        motions[1 + int((np.diff(sample.camera_labels) != 0).sum())] += 1
        for caption in filter(None, (sample.caption, sample.camera_caption)):
            captions += 1
            words |= set(re.findall(r"[\w'-]+", caption.lower()))
    return SetStatistics(
        samples=samples,
        frames=frames,
        hours=frames / FPS / 3600,
        captions=captions,
        vocabulary=len(words),
        motions={str(number): motions[number] for number in sorted(motions)},
    )


def _sample(name: str, shot: Shot, rng: np.random.Generator) -> Sample:
    unsaid = shot.follows and rng.random() < UNSAID
    return Sample(
        name=name,
        path=path_of(shot.world_from_camera),
        character=shot.character,
        camera_labels=labels_of(shot.camera_segments),
        character_labels=labels_of(shot.character_segments),
        caption=caption_of(shot.camera_segments, shot.character_segments, rng, unsaid=unsaid),
        camera_caption=write_caption(shot.camera_segments, rng=rng),
        origin=rng.normal(0, 1, 3),
        intrinsics=np.array(INTRINSICS),
    )
