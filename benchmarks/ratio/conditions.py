"""Edges and straight lines of pictures: ours against plain calls of OpenCV, on the same tensors."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from benchmarks.ratio.comparison import TimingConfig, comparison_record, medians
from benchmarks.ratio.pair import Pair, check_equal, ratio_metric, time_in_turn
from melies.images.conditions import open_extractor
from melies.images.conditions.canny import HIGH, LOW
from melies.report.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionsConfig:
    """What is looked at."""

    num_pictures: int = 1000
    """Pictures."""
    size: int = 256
    """Their side in pixels; Hough's numbers below are the ones for it."""
    votes: int = 25
    """Edge pixels on a line."""
    length: float = 25.0
    """Its least length in pixels."""
    gap: float = 2.5
    """The largest gap in it."""


def compare_conditions(config: TimingConfig, looked: ConditionsConfig | None = None) -> Iterator[Record]:
    """Canny and Hough, equal to the last bit."""
    import cv2

    looked = looked or ConditionsConfig()
    cv2.setNumThreads(config.threads)
    started = perf_counter()
    pairs = build_pairs(looked)
    for pair in pairs:
        check_equal(pair, rtol=0, atol=0)
    timings = [time_in_turn(pair, rounds=config.rounds, warm_up=1) for pair in pairs]
    yield comparison_record(
        "ratio-conditions",
        [ratio_metric(timing) for timing in timings],
        config,
        data={"pictures": looked},
        duration_s=perf_counter() - started,
        notes={"peer": "cv2.Canny and cv2.HoughLinesP", "median seconds": medians(timings)},
        packages=("opencv-python-headless",),
    )


def build_pairs(looked: ConditionsConfig) -> list[Pair]:
    """Both kinds, each beside a loop of plain calls."""
    pixels = draw_shapes(looked)
    return [
        Pair(
            name="canny",
            ours=lambda: open_extractor("canny")(pixels),
            theirs=lambda: _loop(pixels, _canny),
        ),
        Pair(
            name="hough",
            ours=lambda: open_extractor("hough")(pixels),
            theirs=lambda: _loop(pixels, lambda picture: _hough(picture, looked)),
        ),
    ]


def draw_shapes(looked: ConditionsConfig, *, seed: int = 0) -> Tensor:
    """Pictures uint8 (n, 3, h, w) with twelve straight-edged patches each, and a little noise."""
    import cv2

    rng = np.random.default_rng(seed)
    batch = rng.integers(0, 24, (looked.num_pictures, looked.size, looked.size, 3), np.uint8)
    for picture in batch:
        for _ in range(12):
            corners = rng.integers(0, looked.size, (1, 3, 2)).astype(np.int32)
            cv2.fillPoly(picture, corners, rng.integers(30, 256, 3).tolist())
    return torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous()


def _loop(pixels: Tensor, function) -> Tensor:
    found = [function(np.ascontiguousarray(picture.permute(1, 2, 0).numpy())) for picture in pixels]
    return torch.from_numpy(np.stack(found))[:, None]


def _canny(picture: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.Canny(picture, LOW, HIGH)


def _hough(picture: np.ndarray, looked: ConditionsConfig) -> np.ndarray:
    import cv2

    canvas = np.zeros(picture.shape[:2], np.uint8)
    found = cv2.HoughLinesP(
        _canny(picture), 1, np.pi / 180, looked.votes, minLineLength=looked.length, maxLineGap=looked.gap
    )
    for x1, y1, x2, y2 in np.empty((0, 4), int) if found is None else found[:, 0]:
        cv2.line(canvas, (int(x1), int(y1)), (int(x2), int(y2)), 255, 1)
    return canvas
