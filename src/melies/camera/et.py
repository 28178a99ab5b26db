"""Folders of the data set E.T.: camera paths with a character, motions, captions and splits.

The layout is that published (Courant et al. 2024): `traj/` (twelve numbers a line), `char/` (n, 3), both with
the character's first place as the origin, and `traj_raw/`, `char_raw/` before that; `cam_segments/` and
`char_segments/` (n − 1,) int64; `caption/` with the character and `caption_cam/` without; `intrinsics/` (4,);
`caption_clip/` states of words. A sample is a name that they share; splits are lists of names.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from melies.camera.formats import kitti
from melies.camera.path import CameraPath, at_frame_rate
from melies.camera.tag import FPS, tag_camera, tag_character
from melies.errors import UserError
from melies.files import read_text, replacing, write_text

SPLITS = ("full", "mixed", "pure")
"""Of all samples, of all that are not too simple, and of those with one simple motion."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One shot of the data set."""

    name: str
    path: CameraPath
    """25 frames a second; the origin is where the character's hips are at the first frame."""
    character: Float64[ndarray, "n 3"]
    camera_labels: Int64[ndarray, " m"]
    """Of the n − 1 steps."""
    character_labels: Int64[ndarray, " m"]
    caption: str
    """What camera and character do; empty where the folder has none."""
    camera_caption: str
    """What the camera does; empty where the folder has none."""
    origin: Float64[ndarray, "3"]
    """Where the character's first place is in the world of `traj_raw`, metres."""
    intrinsics: Float64[ndarray, "4"] | None = None
    """fx, fy, cx, cy in pixels."""


def write_sample(root: Path, sample: Sample) -> None:
    """Write the files of a sample into the folders of a set."""
    name, poses = sample.name, sample.path.world_from_camera
    moved = poses.copy()
    moved[:, :3, 3] += sample.origin
    for folder, written in (("traj", poses), ("traj_raw", moved)):
        rows = "".join(" ".join(f"{x:.6e}" for x in pose[:3].ravel()) + "\n" for pose in written)
        write_text(root / folder / f"{name}.txt", rows)
    arrays = {
        "char": sample.character,
        "char_raw": sample.character + sample.origin,
        "cam_segments": sample.camera_labels,
        "char_segments": sample.character_labels,
    }
    if sample.intrinsics is not None:
        arrays["intrinsics"] = sample.intrinsics.astype(np.float16)
    for folder, array in arrays.items():
        with replacing(root / folder / f"{name}.npy") as target:
            np.save(target, array, allow_pickle=False)
    for folder, text in (("caption", sample.caption), ("caption_cam", sample.camera_caption)):
        if text:
            write_text(root / folder / f"{name}.txt", text)


def write_splits(root: Path, splits: Mapping[str, Sequence[str]]) -> None:
    """Write lists of names: `{"pure_train": [...]}` as `pure_train_split.txt`."""
    for name, names in splits.items():
        write_text(root / f"{name}_split.txt", "".join(f"{one}\n" for one in names))


def sample_names(root: Path, split: str | None = None) -> list[str]:
    """The samples of a folder, or of one of its splits, in order.

    Raises:
        UserError: If the folder has no `traj`, or no such split.
    """
    if split is not None:
        file = root / f"{split}_split.txt"
        if not file.is_file():
            there = sorted(one.name.removesuffix("_split.txt") for one in root.glob("*_split.txt"))
            raise UserError(
                f"there is no split {split!r}", where=str(root), remedy=f"Valid: {', '.join(there) or 'none'}"
            )
        return read_text(file).split()
    if not (root / "traj").is_dir():
        raise UserError(
            "there is no folder traj in it", where=str(root), remedy="give a set in E.T.'s layout"
        )
    return sorted(file.stem for file in (root / "traj").glob("*.txt"))


def read_sample(root: Path, name: str) -> Sample:
    """One sample. Labels that are not there are taken from the path; pickled files are not opened.

    Raises:
        UserError: If its path or its character is missing or damaged, or they are not of one length.
    """
    file = root / "traj" / f"{name}.txt"
    path = kitti.read(file, FPS)
    character = _array(root / "char" / f"{name}.npy")
    if character is None:
        raise UserError("the sample has no character", where=str(root / "char" / f"{name}.npy"))
    if character.shape != (len(path), 3):
        raise UserError(
            f"a character of shape {character.shape} beside {len(path)} poses", where=f"{root}: {name}"
        )
    camera, moves = (_array(root / folder / f"{name}.npy") for folder in ("cam_segments", "char_segments"))
    camera = tag_camera(path.world_from_camera) if camera is None else camera
    moves = tag_character(character) if moves is None else moves
    for labels in (camera, moves):
        if labels.shape != (len(path) - 1,):
            raise UserError(f"{labels.shape} labels for {len(path)} poses", where=f"{root}: {name}")
    raw = _array(root / "char_raw" / f"{name}.npy")
    intrinsics = _array(root / "intrinsics" / f"{name}.npy")
    return Sample(
        name=name,
        path=path,
        character=character.astype(np.float64),
        camera_labels=camera.astype(np.int64),
        character_labels=moves.astype(np.int64),
        caption=_text(root / "caption" / f"{name}.txt", needed=False).strip(),
        camera_caption=_text(root / "caption_cam" / f"{name}.txt", needed=False).strip(),
        origin=np.zeros(3) if raw is None else raw[0].astype(np.float64) - character[0],
        intrinsics=None if intrinsics is None else intrinsics.astype(np.float64),
    )


def read_samples(root: Path, split: str | None = None) -> Iterator[Sample]:
    """Every sample of a folder or of one of its splits."""
    for name in sample_names(root, split):
        yield read_sample(root, name)


def path_of(world_from_camera: Float64[ndarray, "n 4 4"]) -> CameraPath:
    """A path at the frame rate of E.T."""
    return at_frame_rate(world_from_camera, FPS)


def _text(file: Path, *, needed: bool = True) -> str:
    if not needed and not file.is_file():
        return ""
    return read_text(file)


def _array(file: Path) -> ndarray | None:
    """A numeric array; None where there is no file."""
    if not file.is_file():
        return None
    try:
        with file.open("rb") as source:
            array = np.load(source, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"cannot read it: {error}", where=str(file)) from None
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise UserError("not an array of finite numbers", where=str(file))
    return array
