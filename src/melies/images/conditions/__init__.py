"""Spatial conditions: what a picture shows besides its words, as pictures that a control branch reads.

Every kind is a hint: 8 bits, of the size of the picture it was taken from, black where there is nothing.
Where a public annotator exists (controlnet_aux), colours and ranges are its own, so that the hints also
serve public ControlNets. The table is strings, so that a command can list it without loading anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from melies.errors import UserError, choose
from melies.optional import import_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class Kind(NamedTuple):
    """One kind of hint."""

    call: str
    """`"module:function"` of `(pixels uint8 (n, 3 or 4, h, w)) → hint uint8 (n, channels, h, w)`; of a kind
    with weights, of `(weights: Path) →` such a function; of a varied one, with `seed=` besides."""
    channels: int
    """1 (grey) or 3 (RGB)."""
    what: str
    """One line: what is drawn, in which colours, from which source."""
    weights: str = ""
    """The file that must be given, and where it is published; empty where none is needed."""
    varied: bool = False
    """Whether it is drawn a little differently for every seed."""
    lines: bool = False
    """Whether white lines on black are what to expect."""


_UNVERIFIED = "unverified against public weights"

CONDITIONS = {
    "canny": Kind(
        "melies.images.conditions.canny:canny", 1, "edges, white on black (Canny 1986)", lines=True
    ),
    "hough": Kind(
        "melies.images.conditions.hough:hough", 1, "straight lines, white on black (Hough)", lines=True
    ),
    "scribble": Kind(
        "melies.images.conditions.scribble:scribble",
        1,
        "thick strokes as if by hand, white on black",
        varied=True,
        lines=True,
    ),
    "lineart": Kind(
        "melies.images.conditions.lineart:lineart",
        1,
        "a line drawing, white on black (no network)",
        lines=True,
    ),
    "softedge": Kind(
        "melies.images.conditions.softedge:softedge",
        1,
        "contrast of edges at several scales, not learned; white is strong",
        lines=True,
    ),
    "hed": Kind(
        "melies.images.conditions.softedge:open_hed",
        1,
        f"soft edges of a network (Xie & Tu 2015); white is strong; {_UNVERIFIED}",
        "ControlNetHED.pth (lllyasviel/Annotators on the Hugging Face hub)",
        lines=True,
    ),
    "pidinet": Kind(
        "melies.images.conditions.softedge:open_pidinet",
        1,
        f"soft edges of a small network (Su et al. 2021); white is strong; {_UNVERIFIED}",
        "table5_pidinet.pth (lllyasviel/Annotators on the Hugging Face hub)",
        lines=True,
    ),
    "mask": Kind(
        "melies.images.conditions.mask:mask", 1, "the foreground in white: transparency, else by colour"
    ),
    "clusters": Kind(
        "melies.images.conditions.mask:clusters", 3, "areas of like colour, each in its mean colour"
    ),
    "segmentation": Kind(
        "melies.images.conditions.segmentation:open_segmentation",
        3,
        f"classes in the colours of ADE20K; {_UNVERIFIED}",
        "the folder of a semantic segmentation model with 150 classes, such as"
        " openmmlab/upernet-convnext-small on the Hugging Face hub",
    ),
    "depth": Kind(
        "melies.images.conditions.depth:open_depth",
        1,
        f"how near things are, near is white; {_UNVERIFIED}",
        "the folder of a depth model, such as Intel/dpt-large on the Hugging Face hub",
    ),
    "stereo": Kind(
        "melies.images.conditions.stereo:stereo",
        1,
        "how near things are, near is white, from two views side by side, the left one first",
    ),
    "normal": Kind(
        "melies.images.conditions.normal:open_normal",
        3,
        f"which way surfaces face: red left, green up, blue to the viewer; {_UNVERIFIED}",
        "the folder of a depth model, such as Intel/dpt-large on the Hugging Face hub",
    ),
    "normal-from-depth": Kind(
        "melies.images.conditions.normal:normal_from_depth",
        3,
        "the same from pictures of depth, near is white",
    ),
    "pose": Kind(
        "melies.images.conditions.pose:open_pose",
        3,
        "a skeleton of 18 points in the colours of OpenPose, by BlazePose; reads OpenPose's JSON too",
        "mediapipe-0.10.21-….whl, or a folder with its pose_detection.tflite and pose_landmark_full.tflite"
        " (`pip download --no-deps --only-binary=:all: --python-version 3.12 mediapipe==0.10.21`)",
    ),
    "thermal": Kind(
        "melies.images.conditions.infrared:thermal", 1, "a thermal picture as it is, warm is white"
    ),
    "infrared-luminance": Kind(
        "melies.images.conditions.infrared:infrared_luminance",
        1,
        "an approximation of infrared by brightness: no picture of visible light knows its heat",
    ),
}
"""Every kind of hint, by name."""


def open_extractor(kind: str, *, weights: Path | None = None, seed: int = 0) -> Callable[[Tensor], Tensor]:
    """The function that takes hints of a kind from pictures.

    Args:
        kind: One of `CONDITIONS`.
        weights: What a kind with weights needs; for others None.
        seed: For a kind that varies: which variation.

    Raises:
        UserError: If there is no such kind, its weights are not given or are those of something else, or a
            package is not installed.
    """
    entry = choose(kind, CONDITIONS, "kind of condition")
    function = import_from(entry.call)
    if entry.weights:
        if weights is None:
            raise UserError(f"{kind} needs {entry.weights}", remedy="give it with --weights PATH")
        if not weights.exists():
            raise UserError(
                "there is no such file or folder", where=str(weights), remedy=f"{kind} needs {entry.weights}"
            )
        return function(weights)
    if weights is not None:
        raise UserError(f"{kind} has no weights", remedy="leave --weights out")
    return (lambda pixels: function(pixels, seed=seed)) if entry.varied else function


def extract(kind: str, pixels: Tensor, *, weights: Path | None = None, seed: int = 0) -> Tensor:
    """Hints of pictures.

    Args:
        kind: One of `CONDITIONS`.
        pixels: uint8 (n, 3, h, w), RGB; with transparency (n, 4, h, w), which the kind `mask` reads and the
            others lay on white.
        weights: As for `open_extractor`, and so is `seed`.
        seed: Which variation.

    Returns:
        uint8 (n, c, h, w), c being the kind's `channels`; `stereo` gives half the width.

    Raises:
        UserError: As `open_extractor`.
    """
    return open_extractor(kind, weights=weights, seed=seed)(pixels)
