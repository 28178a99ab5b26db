"""Synthetic shots with their captions, as what networks train on and are judged by."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray
from torch import Tensor

from melies.camera.chunks import MOST_FRAMES
from melies.camera.dataset import HELD_OUT, UNSAID, caption_of
from melies.camera.et import read_sample, sample_names
from melies.camera.features import MIRROR, encode_character
from melies.camera.labels import label_of, signs_of
from melies.camera.motion import say_motions
from melies.camera.synthesis import Shot, SynthesisConfig, synthesize
from melies.camera.tag import Segment, find_segments
from melies.data.balance import index_stream, uniform_at
from melies.data.splits import split_by_hash
from melies.errors import UserError
from melies.progress import Progress, silent
from melies.transform import StandardizeSteps

HELD_OUT_SEED = 1_000_000
"""Seed of the shots that no training sees."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CaptionedShots:
    """Shots with a sentence for each, and one for each as it is seen in a mirror."""

    shots: tuple[Shot, ...]
    captions: tuple[str, ...]
    mirrored_captions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.shots)

    def subset(self, rows: Sequence[int]) -> "CaptionedShots":
        """Some of them."""
        return CaptionedShots(
            shots=tuple(self.shots[row] for row in rows),
            captions=tuple(self.captions[row] for row in rows),
            mirrored_captions=tuple(self.mirrored_captions[row] for row in rows),
        )

    def with_paths(self, paths: Sequence[Float64[ndarray, "_ 4 4"]]) -> "CaptionedShots":
        """The same captions and characters with other paths."""
        pairs = zip(self.shots, paths, strict=True)
        return replace(self, shots=tuple(replace(shot, world_from_camera=path) for shot, path in pairs))


def captioned_shots(
    count: int, *, seed: int, config: SynthesisConfig | None = None, progress: Progress = silent
) -> CaptionedShots:
    """`count` shots with captions; the same for the same seed."""
    rng = np.random.default_rng([seed, 1])
    shots, captions, mirrored = [], [], []
    with progress("making shots", total=count, unit="shots") as track:
        for shot in synthesize(count, seed=seed, config=config):
            unsaid = shot.follows and rng.random() < UNSAID
            shots.append(shot)
            zooms = [] if shot.zoom is None else [say_motions([shot.zoom], len(shot.character) - 1)]
            caption = caption_of(shot.camera_segments, shot.character_segments, rng, unsaid=unsaid)
            captions.append(" ".join([caption, *zooms]))
            camera, character = (
                mirror_segments(shot.camera_segments),
                mirror_segments(shot.character_segments),
            )
            mirrored.append(" ".join([caption_of(camera, character, rng, unsaid=unsaid), *zooms]))
            track.advance(1)
    return CaptionedShots(shots=tuple(shots), captions=tuple(captions), mirrored_captions=tuple(mirrored))


def read_shots(
    root: Path, split: str, *, progress: Progress = silent, say: Callable[[str], None] = lambda line: None
) -> CaptionedShots:
    """The shots of a set in E.T.'s layout; seen in a mirror their captions say left for right.

    Args:
        root: The set.
        split: `"train"` or `"test"`; where it has no such lists, one sample in ten is for testing.
        progress: Shows the reading.
        say: Told how many samples are left out, which have no caption.

    Raises:
        UserError: If it is no such set, a sample is damaged, or none has a caption.
    """
    try:
        names = sample_names(root, f"full_{split}")
    except UserError:
        everything = sample_names(root)
        testing = split_by_hash(everything, modulus=HELD_OUT).tolist()
        names = [
            name for name, held_out in zip(everything, testing, strict=True) if held_out == (split == "test")
        ]
    shots, captions = [], []
    with progress("reading shots", total=len(names), unit="shots") as track:
        for name in names:
            sample = read_sample(root, name)
            track.advance(1)
            caption = sample.caption or sample.camera_caption
            if not caption or len(sample.path) < 2:
                continue
            captions.append(caption)
            shots.append(
                Shot(
                    world_from_camera=sample.path.world_from_camera[:MOST_FRAMES],
                    character=sample.character[:MOST_FRAMES],
                    camera_segments=tuple(find_segments(sample.camera_labels[: MOST_FRAMES - 1])),
                    character_segments=tuple(find_segments(sample.character_labels[: MOST_FRAMES - 1])),
                    follows=False,
                )
            )
    if not shots:
        raise UserError(f"of {len(names)} samples for {split} none has a caption", where=str(root))
    if len(shots) < len(names):
        say(f"{len(names) - len(shots)} of {len(names)} samples have no caption, and are left out")
    return CaptionedShots(
        shots=tuple(shots),
        captions=tuple(captions),
        mirrored_captions=tuple(mirror_words(caption) for caption in captions),
    )


def mirror_words(text: str) -> str:
    """Left for right, and right for left, where they are words."""
    other = {"left": "right", "right": "left"}

    def turned(found: re.Match[str]) -> str:
        word = other[found[0].lower()]
        return word.capitalize() if found[0][0].isupper() else word

    return re.sub(r"\b(left|right)\b", turned, text, flags=re.IGNORECASE)


def training_shots(
    data: Path | None,
    count: int,
    watched: int,
    *,
    seed: int,
    config: SynthesisConfig | None = None,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[CaptionedShots, CaptionedShots]:
    """Shots to learn from and held-out ones to watch by: made by rule, or those of a set.

    Args:
        data: A set in E.T.'s layout; None for shots made by rule.
        count: Shots that are made.
        watched: Most held-out ones.
        seed: Of those that are made.
        config: How they are made.
        progress: Shows the making or reading.
        say: Told of samples that are left out.

    Raises:
        UserError: If the set cannot be read, or has nothing on one side.
    """
    if data is None:
        known = captioned_shots(count, seed=seed, config=config, progress=progress)
        return known, captioned_shots(watched, seed=HELD_OUT_SEED, config=config, progress=progress)
    known, held_out = (read_shots(data, split, progress=progress, say=say) for split in ("train", "test"))
    rows = torch.linspace(0, len(held_out) - 1, min(watched, len(held_out))).long().tolist()
    return known, held_out.subset(rows)


def mirror_segments(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """The same motions seen in a mirror: right is left."""
    turned = np.array([-1, 1, 1])
    return tuple(one._replace(label=int(label_of(signs_of(one.label) * turned))) for one in segments)


def shot_batches(
    set_: CaptionedShots,
    conditions: Callable[[Tensor], dict[str, Tensor]],
    encode: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    character: StandardizeSteps,
    *,
    patch: int,
    seed: int,
) -> Callable[[int, int], dict[str, Tensor]]:
    """Batches by position, half of the shots seen in a mirror.

    Args:
        set_: The shots.
        conditions: Rows of the captions, and behind them of the mirrored ones, to the condition of a batch.
        encode: Poses (b, n, 4, 4), their characters (b, n, 3) and focal lengths (b, n), where there are any,
            to features whose steps in x have mean 0.
        character: The map of the character's steps, with a mean of 0 in x.
        patch: Batches are as long as their longest shot, in whole patches.
        seed: Another seed, another order.

    Returns:
        `(start, size) → batch` with `"x0"` (b, 9 or 10, n), `"frames_valid"` (b, n), `"character"` (b, 3, n)
        and the text.
    """
    paths = [
        encode(
            torch.from_numpy(shot.world_from_camera)[None],
            torch.from_numpy(shot.character)[None],
            None if shot.focal is None else torch.from_numpy(shot.focal)[None],
        )[0].float()
        for shot in set_.shots
    ]
    tracks = [
        encode_character(torch.from_numpy(shot.character)[None], character)[0].float() for shot in set_.shots
    ]
    order = index_stream(torch.ones(len(set_), dtype=torch.float64), seed=seed)
    features = len(paths[0])
    mirror, mirror_track = (
        torch.tensor([*MIRROR, 1.0])[:features, None],
        torch.tensor([-1.0, 1.0, 1.0])[:, None],
    )

    def batches(start: int, size: int) -> dict[str, Tensor]:
        chosen = order(start, size)
        mirrored = uniform_at(torch.arange(start, start + size), seed=seed, stream="mirror") < 0.5
        rows = chosen + mirrored * len(set_)
        n = max(paths[i].shape[1] for i in chosen)
        n += -n % patch
        x0, told = torch.zeros(size, features, n), torch.zeros(size, 3, n)
        valid = torch.zeros(size, n, dtype=torch.bool)
        for row, (index, turned) in enumerate(zip(chosen.tolist(), mirrored.tolist(), strict=True)):
            path, track = paths[index], tracks[index]
            frames = path.shape[1]
            x0[row, :, :frames] = path * mirror if turned else path
            told[row, :, :frames] = track * mirror_track if turned else track
            valid[row, :frames] = True
        condition = conditions(rows)
        length = int(condition["text_valid"].sum(1).max())
        text = {name: value[:, :length] for name, value in condition.items()}
        return {"x0": x0, "character": told, "frames_valid": valid, **text}

    return batches
