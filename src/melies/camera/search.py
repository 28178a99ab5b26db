"""Camera paths found by what they do: those of a folder, ranked by how near CLaTr puts them to words."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize
from tyro.conf import arg

from melies import checkpoint
from melies.camera.clatr import CLaTr
from melies.camera.convert import at_rate
from melies.camera.describe import ReadSettings, describe_path, open_path
from melies.camera.features import NUM_FEATURES
from melies.camera.formats import FORMATS
from melies.camera.path import CameraPath
from melies.camera.picture import path_picture
from melies.config import check_positive
from melies.errors import UserError
from melies.geometry import angles_of, exp_rotation
from melies.progress import Progress, silent
from melies.report.figure import grid

OVERLAP = 3
"""A longer path is looked at in windows, each a third of its length after the one before."""
MAX_FILES = 100_000
BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """By what, and how many."""

    clatr: str = "clatr"
    """Name or checkpoint of the CLaTr that compares."""
    count: int = 10
    """Paths that are shown."""
    read: Annotated[ReadSettings, arg(name="")] = ReadSettings()

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_positive("count", self.count)


class Found(NamedTuple):
    """A path that was searched, at its best moment."""

    file: Path
    score: float
    """Cosine of words and path in CLaTr's space."""
    start: float
    """Seconds at which the best window begins."""
    end: float
    """Seconds at which it ends."""
    path: CameraPath
    """That window."""


class Ranking(NamedTuple):
    """What a search found."""

    found: tuple[Found, ...]
    """The nearest first."""
    searched: int
    """How many paths there are."""
    refused: tuple[str, ...]
    """What was no path, and why."""


class _Window(NamedTuple):
    file: Path
    path: CameraPath


def search_paths(
    words: str,
    places: Sequence[Path],
    settings: SearchSettings,
    *,
    allow_download: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda line: None,
) -> Ranking:
    """The paths of some files and folders that fit the words best.

    Where a path starts and which way it then looks count for nothing: only what it does from there on.

    Args:
        words: What the camera does.
        places: Files, and folders that are searched with all below them; of a set in E.T.'s layout `traj`.
        settings: By what, and how many.
        allow_download: Fetch the weights of the text encoder where they are not here.
        progress: Shows the reading and comparing.
        say: Told what is loaded.

    Raises:
        UserError: If there is no path, no such place, or the model is not a CLaTr.
    """
    if not words.strip():
        raise UserError("no words to search for", remedy='melies camera search "push in" FOLDER')
    model = checkpoint.load(settings.clatr).model
    if not isinstance(model, CLaTr):
        raise UserError("not a CLaTr", where=settings.clatr)
    files = path_files(places)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    model.load_text_encoder(allow_download=allow_download, say=say)
    asked = normalize(model.embed_texts([words]), dim=-1)[0]
    best: dict[Path, Found] = {}
    refused: list[str] = []
    waiting: list[_Window] = []

    def compare() -> None:
        for window, score in zip(waiting, _scores(model, waiting, asked).tolist(), strict=True):
            times = window.path.times
            if window.file not in best or score > best[window.file].score:
                best[window.file] = Found(window.file, score, float(times[0]), float(times[-1]), window.path)
        waiting.clear()

    with progress("searching", total=len(files), unit="files") as track:
        for file in files:
            try:
                for path in _windows(open_path(file, settings.read), model):
                    waiting.append(_Window(file, path))
                    if len(waiting) == BATCH:
                        compare()
            except UserError as error:
                refused.append(str(error))
            track.advance(1)
    if waiting:
        compare()
    if not best:
        raise UserError(
            "there is no camera path that can be read", where=", ".join(map(str, places)), remedy=refused[0]
        )
    ranked = sorted(best.values(), key=lambda one: (-one.score, str(one.file)))
    return Ranking(tuple(ranked[: settings.count]), len(best), tuple(refused))


def path_files(places: Sequence[Path]) -> list[Path]:
    """The files that may be camera paths, in order; a folder of COLMAP counts as one.

    Raises:
        UserError: If a place is not there, or has no such file, or too many.
    """
    suffixes = {kind.suffix for kind in FORMATS.values() if kind.read and kind.suffix} | {".usd", ".glb"}
    found: dict[Path, None] = {}
    for place in places:
        if not place.exists():
            raise UserError("there is no such file or folder", where=str(place))
        root = place / "traj" if (place / "traj").is_dir() else place
        for file in [root] if root.is_file() else _below(root, suffixes):
            found[file] = None
            if len(found) > MAX_FILES:
                raise UserError(f"more than {MAX_FILES:,} files", where=str(place), remedy="search in a part")
    if not found:
        raise UserError(
            "no file in it has a suffix of a camera path",
            where=", ".join(map(str, places)),
            remedy=f"Valid: {', '.join(sorted(suffixes))}",
        )
    return list(found)


def ranking_picture(ranking: Ranking) -> Image.Image:
    """What was found, each from above and from the side, the nearest first."""
    pictures = [
        path_picture(one.path.world_from_camera, width_px=720, height_px=320) for one in ranking.found
    ]
    captions = [
        f"{place}. {one.file.name}, {one.start:.1f}–{one.end:.1f} s, {one.score:.2f}"
        for place, one in enumerate(ranking.found, 1)
    ]
    return grid(pictures, min(2, len(pictures)), captions=captions)


def caption_of(found: Found) -> str:
    """What the tagger says of the moment that was found."""
    return describe_path(found.path).caption


def _below(root: Path, suffixes: set[str]) -> Iterator[Path]:
    for file in sorted(root.rglob("*")):
        if file.name == "images.txt" and (file.parent / "cameras.txt").is_file():
            yield file.parent
        elif file.suffix.lower() in suffixes and file.is_file():
            if not (file.parent / "images.txt").is_file():
                yield file


def _windows(path: CameraPath, model: CLaTr) -> Iterator[CameraPath]:
    """The path at the model's frame rate, in parts that are no longer than what it knows."""
    path, most = at_rate(path, model.config.fps), model.config.frames
    if len(path) < 2:
        raise UserError("a path of one frame does not move")
    last = max(len(path) - most, 0)
    for start in sorted({*range(0, last, -(-most // OVERLAP)), last}):
        part = slice(start, start + most)
        yield CameraPath(
            world_from_camera=path.world_from_camera[part],
            times=path.times[part],
            lens=None if path.lens is None else path.lens[part],
            aspect=path.aspect,
        )


@torch.no_grad()
def _scores(model: CLaTr, windows: Sequence[_Window], asked: Tensor) -> Tensor:
    """Cosine of each window and the words, (n,) float32 on the CPU."""
    x0 = torch.zeros(len(windows), NUM_FEATURES, max(len(one.path) for one in windows))
    valid = torch.zeros(len(windows), x0.shape[2], dtype=torch.bool)
    for row, window in enumerate(windows):
        poses = torch.from_numpy(_from_start(window.path.world_from_camera)).float()
        features = model.features(poses[None].to(model.device))[0]
        x0[row, :, : len(poses)] = features.cpu()
        valid[row, : len(poses)] = True
    # The mean first place of the set it was trained on, for every path.
    x0[:, 6:, :1] = 0
    latents = model.read_paths(x0.to(model.device), valid.to(model.device)).mean
    return (normalize(latents, dim=-1) @ asked).float().cpu()


def _from_start(poses: Float64[ndarray, "n 4 4"]) -> Float64[ndarray, "n 4 4"]:
    """The path from the origin on, turned about the vertical so that it looks forward at first."""
    yaw, _ = angles_of(poses[:1, :3, 2])
    turn = np.eye(4)
    turn[:3, :3] = exp_rotation(np.array([0.0, -yaw[0], 0.0]))
    moved = poses.copy()
    moved[:, :3, 3] -= poses[0, :3, 3]
    return turn @ moved
