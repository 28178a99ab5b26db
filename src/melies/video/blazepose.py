"""Key points of one person by BlazePose (Bazarevsky et al. 2020), with the model files of mediapipe.

Two networks: one finds the person and how they stand, one the points inside that turned square. The files
are read from the wheel of mediapipe 0.10.21, which need not be installed, or from a folder.
"""

import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, UInt8

from melies.errors import UserError
from melies.optional import require
from melies.video.pose import Pose

DETECTION, LANDMARKS = "pose_detection.tflite", "pose_landmark_full.tflite"
"""Names of the two files."""
MAX_BYTES = 64 << 20
"""Of one model file."""
DETECTION_SIDE, LANDMARKS_SIDE = 224, 256
"""Pixels along a side of what the networks look at."""
LEAST_SCORE = 0.5
"""Probability of a person, in both networks."""
WIDER = 1.25
"""The square around a person is this much larger than the circle that was found."""
_STRIDES = ((8, 2), (16, 2), (32, 6))
"""Pixels between anchors, and how many lie at each place."""
_OF_33 = (0, 0, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7)
"""BlazePose's number of each of OpenPose's points; it has no neck, which is between 11 and 12."""


class BlazePose(NamedTuple):
    """Both networks, ready."""

    detection: Any
    landmarks: Any

    def __call__(self, picture: UInt8[np.ndarray, "h w 3"]) -> list[Pose]:
        """The most visible person of an RGB picture, or none.

        The points are the landmark network's coordinates; they are not refined by its heat maps.
        """
        person = find_person(self.detection, picture)
        if person is None:
            return []
        cv2 = require("cv2", extra="control", why="finding poses")
        to_picture = _square(person, LANDMARKS_SIDE)
        inside = cv2.warpAffine(
            picture,
            to_picture,
            (LANDMARKS_SIDE, LANDMARKS_SIDE),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
        )
        points, score = _run(self.landmarks, inside.astype(np.float32)[None] / 255, (195, 1))
        if score.item() < LEAST_SCORE:
            return []
        marks = points.reshape(39, 5)[:33]
        at = marks[:, :2] @ to_picture[:, :2].T + to_picture[:, 2]
        sure = _sigmoid(np.minimum(marks[:, 3], marks[:, 4]))  # visible, and there at all
        found = np.concatenate([at, sure[:, None]], axis=1)[list(_OF_33)]
        found[1] = (found[2] + found[5]) / 2
        found[1, 2] = min(found[2, 2], found[5, 2])
        found[found[:, 2] < LEAST_SCORE, 2] = 0
        return [Pose(found.astype(np.float32))]


def open_blazepose(files: Path) -> BlazePose:
    """The networks from a wheel of mediapipe, or from a folder with both files somewhere inside.

    Raises:
        UserError: If the files are not there or not these networks, or the package that runs them is missing.
    """
    interpreter = require(
        "ai_edge_litert.interpreter", extra="offline", why="running the pose networks of mediapipe"
    )

    def ready(name: str, side: int) -> Any:
        try:
            network = interpreter.Interpreter(model_content=_content(files, name), num_threads=1)
            network.allocate_tensors()
            shape = tuple(network.get_input_details()[0]["shape"].tolist())
        except (ValueError, RuntimeError):
            raise UserError(f"{name} is damaged", where=str(files)) from None
        if shape != (1, side, side, 3):
            raise UserError(f"{name} is another network: it reads {shape}", where=str(files))
        return network

    return BlazePose(ready(DETECTION, DETECTION_SIDE), ready(LANDMARKS, LANDMARKS_SIDE))


class Person(NamedTuple):
    """Where one is, in pixels of the picture."""

    centre: Float[np.ndarray, " 2"]
    """The middle of the hips."""
    top: Float[np.ndarray, " 2"]
    """A point above the head on the circle around the whole body."""


def find_person(network: Any, picture: UInt8[np.ndarray, "h w 3"]) -> Person | None:
    """The person with the highest score, or none."""
    cv2 = require("cv2", extra="control", why="finding poses")
    h, w = picture.shape[:2]
    side, longer = DETECTION_SIDE, max(h, w)
    to_picture = np.array(
        [[longer / side, 0, (w - longer) / 2], [0, longer / side, (h - longer) / 2]]
    )  # all of it, on black
    inside = cv2.warpAffine(picture, to_picture, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    boxes, scores = _run(network, inside.astype(np.float32)[None] / 127.5 - 1, (2254 * 12, 2254))
    best = int(scores.reshape(-1).argmax())
    if _sigmoid(scores.reshape(-1))[best] < LEAST_SCORE:
        return None
    # a box is its centre and size, then four points, all in pixels from the anchor
    points = boxes.reshape(2254, 12)[best, 4:8].reshape(2, 2) + anchors()[best] * side
    centre, top = points @ to_picture[:, :2].T + to_picture[:, 2]
    return Person(centre, top)


def anchors() -> Float32[np.ndarray, "2254 2"]:
    """The places (x and y in [0, 1]) from which boxes are measured."""
    found = []
    for stride, count in _STRIDES:
        middles = (np.arange(DETECTION_SIDE // stride, dtype=np.float32) + 0.5) * stride / DETECTION_SIDE
        y, x = np.meshgrid(middles, middles, indexing="ij")
        found.append(np.repeat(np.stack([x.reshape(-1), y.reshape(-1)], axis=1), count, axis=0))
    return np.concatenate(found)


def _square(person: Person, side: int) -> Float[np.ndarray, "2 3"]:
    """From pixels of the upright square around a person to those of the picture."""
    up = person.top - person.centre
    radius = max(float(np.hypot(*up)), 1.0)
    down = -up / radius if np.hypot(*up) else np.array([0.0, 1.0])
    right = np.array([down[1], -down[0]])
    turn = np.stack([right, down], axis=1) * (2 * WIDER * radius / side)
    return np.concatenate([turn, (person.centre - turn @ np.full(2, side / 2))[:, None]], axis=1)


def _run(network: Any, x: Float32[np.ndarray, "1 h w 3"], sizes: tuple[int, ...]) -> list[np.ndarray]:
    """The outputs that have so many numbers."""
    network.set_tensor(network.get_input_details()[0]["index"], x)
    network.invoke()
    outputs = {int(np.prod(d["shape"])): network.get_tensor(d["index"]) for d in network.get_output_details()}
    if missing := [size for size in sizes if size not in outputs]:
        raise UserError(f"the pose network has no output of {missing[0]} numbers: it is another one")
    return [outputs[size] for size in sizes]


def _content(files: Path, name: str) -> bytes:
    try:
        if files.is_dir():
            found = next(iter(sorted(files.rglob(name))), None)
            if found is not None and found.stat().st_size <= MAX_BYTES:
                return found.read_bytes()
        elif files.is_file():
            with zipfile.ZipFile(files) as wheel:
                found = next((i for i in wheel.infolist() if i.filename.endswith(f"/{name}")), None)
                if found is not None and found.file_size <= MAX_BYTES:
                    return wheel.read(found)
        reason = f"holds no {name}"
    except (OSError, zipfile.BadZipFile) as error:
        reason = f"cannot be read ({error})"
    raise UserError(
        reason, where=str(files), remedy="give the wheel of mediapipe 0.10.21, or its unpacked files"
    )


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))
