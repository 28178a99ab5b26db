"""Poses of people: key points, their skeleton as a picture, and OpenPose's files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from melies.errors import UserError
from melies.files import read_text
from melies.optional import require

POINTS = (
    *("nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow"),
    *("left wrist", "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle"),
    *("right eye", "left eye", "right ear", "left ear"),
)
"""The 18 key points of OpenPose's COCO model, in its order; right is the person's own."""
_LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
_COLOURS = (
    *("ff0000", "ff5500", "ffaa00", "ffff00", "aaff00", "55ff00", "00ff00", "00ff55", "00ffaa", "00ffff"),
    *("00aaff", "0055ff", "0000ff", "5500ff", "aa00ff", "ff00ff", "ff00aa", "ff0055"),
)
"""Of point i, and at three fifths of its brightness of limb i."""
_DIMMED = 0.6
_RADIUS = 4
"""Of a point, and half the width of a limb, in pixels."""
_OF_BODY_25 = (*range(8), 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
"""Where OpenPose's BODY_25 has the same points: it puts the middle of the hips between."""
_LEAST_CONFIDENCE = 0.05
"""Points below it were not found: OpenPose's own limit for drawing."""


class Pose(NamedTuple):
    """One person."""

    points: Float32[np.ndarray, "18 3"]
    """x and y in pixels (the middle of the first pixel is at 0) and confidence; 0 where not found."""


def draw_poses(poses: Sequence[Pose], height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """Skeletons on black: the colours, widths and limbs by which ControlNet's pose models know them.

    Source: OpenPose (Cao et al. 2019) as the annotator of ControlNet draws it: 18 points, 17 limbs.
    """
    cv2 = require("cv2", extra="control", why="drawing poses")
    canvas = np.zeros((height, width, 3), np.uint8)
    for pose in poses:
        found = pose.points[:, 2] >= _LEAST_CONFIDENCE
        at = pose.points[:, :2]
        for (begin, end), colour in zip(_LIMBS, _COLOURS, strict=False):
            if found[begin] and found[end]:
                middle, along = (at[begin] + at[end]) / 2, at[begin] - at[end]
                ellipse = cv2.ellipse2Poly(
                    (int(middle[0]), int(middle[1])),
                    (int(np.hypot(*along) / 2), _RADIUS),
                    int(np.degrees(np.arctan2(along[1], along[0]))),
                    *(0, 360, 1),
                )
                cv2.fillConvexPoly(canvas, ellipse, [int(_DIMMED * level) for level in bytes.fromhex(colour)])
        for point, colour in zip(at[found], np.array(_COLOURS)[found], strict=True):
            cv2.circle(canvas, (int(point[0]), int(point[1])), _RADIUS, list(bytes.fromhex(colour)), -1)
    return canvas


def read_openpose(path: Path) -> tuple[list[Pose], tuple[int, int] | None]:
    """The people in a JSON file that OpenPose wrote, and the height and width of the picture if it says so.

    `people` with `pose_keypoints_2d` of 18 (COCO) or 25 points (BODY_25); also a list of such files' contents
    with `canvas_height` and `canvas_width`, as editors of poses write it: its first is read. Coordinates
    that all lie in [0, 1] are shares of the picture where its size is told.

    Raises:
        UserError: If it is not such a file.
    """
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"not JSON ({error})", where=str(path)) from None
    if isinstance(content, list) and content:
        content = content[0]
    if not isinstance(content, dict) or not isinstance(content.get("people"), list):
        raise UserError("has no list of people, as OpenPose writes it", where=str(path))
    height, width = content.get("canvas_height"), content.get("canvas_width")
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    if size is not None and not all(1 <= side <= 16_384 for side in size):
        raise UserError(f"a picture of {size[1]}×{size[0]} pixels cannot be drawn", where=str(path))
    return [_pose(person, size, f"{path}: person {i}") for i, person in enumerate(content["people"], 1)], size


def write_openpose(poses: Sequence[Pose], height: int, width: int) -> str:
    """The same as OpenPose's JSON, with the size of the picture."""
    people = [{"pose_keypoints_2d": [round(float(x), 3) for x in pose.points.reshape(-1)]} for pose in poses]
    return json.dumps({"people": people, "canvas_height": height, "canvas_width": width}) + "\n"


def _pose(person: Any, size: tuple[int, int] | None, where: str) -> Pose:
    numbers = person.get("pose_keypoints_2d") if isinstance(person, dict) else None
    try:
        points = np.array(numbers, np.float32).reshape(-1, 3)
    except (TypeError, ValueError):
        raise UserError("pose_keypoints_2d is no list of x, y and confidence", where=where) from None
    if len(points) == 25:
        points = points[list(_OF_BODY_25)]
    if len(points) != len(POINTS) or not np.isfinite(points).all():
        raise UserError(
            f"has {len(points)} key points or some that are not finite", where=where, remedy="give 18 or 25"
        )
    found = points[:, 2] >= _LEAST_CONFIDENCE
    if size is not None and found.any() and 0 <= points[found, :2].min() <= points[found, :2].max() <= 1:
        points[:, :2] *= np.array([size[1], size[0]], np.float32)
    return Pose(points)
