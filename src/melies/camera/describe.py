"""What a camera path does, from a file: labels, segments, motions, a caption, and a picture."""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray
from tyro.conf import arg

from melies.camera.caption import outline, write_caption
from melies.camera.convert import READ, at_rate
from melies.camera.formats import find_format, read_path
from melies.camera.formats.axes import AXES
from melies.camera.motion import Motion, find_motions, say_motions
from melies.camera.path import CameraPath
from melies.camera.picture import path_picture
from melies.camera.tag import FPS, Segment, find_segments, tag_camera, tag_character
from melies.config import check_positive
from melies.errors import UserError, choose
from melies.files import write_bytes
from melies.report.png import png_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSettings:
    """What a file does not say of itself."""

    format: Annotated[str | None, arg(metavar="NAME", help=f"What is read: {READ}.")] = None
    camera_axes: Annotated[str | None, arg(metavar="AXES")] = None
    """Axes of the camera, if they are not those usual in its format (see `melies camera convert --help`)."""
    world_axes: Annotated[str | None, arg(metavar="AXES")] = None
    """Axes of its world."""
    unit: Annotated[float | None, arg(metavar="METRES")] = None
    """Metres of one unit; thresholds are in metres, and paths out of pictures have any scale."""
    fps: float = FPS
    """Frames a second of what says no times."""

    def __post_init__(self) -> None:
        """Check names and ranges."""
        check_positive("fps", self.fps)
        if self.unit is not None:
            check_positive("unit", self.unit)
        for name in ("camera_axes", "world_axes"):
            if getattr(self, name) is not None:
                choose(getattr(self, name), AXES, f"axes in --{name.replace('_', '-')}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Description:
    """What a path does, at the frame rate of E.T."""

    path: CameraPath
    character: Float64[ndarray, "n 3"] | None
    labels: Int64[ndarray, " steps"]
    """One of 27 for each step between frames."""
    segments: tuple[Segment, ...]
    character_segments: tuple[Segment, ...]
    motions: tuple[Motion, ...]
    """Pan, tilt, roll, zoom, arc and dolly-zoom."""
    caption: str
    outline: str


def open_path(file: Path, settings: ReadSettings) -> CameraPath:
    """The path in a file, in OpenCV's axes and metres.

    Raises:
        UserError: If it is not read as it is said to be.
    """
    kind = find_format(file, settings.format)
    said = {"camera": settings.camera_axes, "world": settings.world_axes, "unit": settings.unit}
    return read_path(
        file,
        kind._replace(**{name: value for name, value in said.items() if value is not None}),
        settings.fps,
    )


def describe_path(
    path: CameraPath, character: Float64[ndarray, "n 3"] | None = None, *, seed: int = 0
) -> Description:
    """What a path does, beside a character if there is one.

    Args:
        path: Its frames are made 25 a second, which the windows and thresholds of the tagger are for.
        character: Where the character's hips are, metres, at those frames.
        seed: Another seed, another wording.

    Raises:
        UserError: If the path has a single frame, or the character is not as long as it is.
    """
    even = np.allclose(np.diff(path.times), 1 / FPS, atol=1e-4)
    path = path if even else at_rate(path, FPS)
    if len(path) < 2:
        raise UserError("a path of one frame does not move", remedy="give at least two")
    if character is not None and len(character) < len(path):
        raise UserError(
            f"a character of {len(character)} frames beside {len(path)} of the camera",
            where="character",
            remedy=f"give one that lasts as long, at {FPS:g} frames a second",
        )
    labels = tag_camera(path.world_from_camera, FPS)
    segments = tuple(find_segments(labels))
    character = None if character is None else character[: len(path)]
    moves = () if character is None else tuple(find_segments(tag_character(character, FPS)))
    motions = tuple(find_motions(path))
    said = write_caption(segments, moves, rng=np.random.default_rng(seed))
    more = say_motions(motions, len(labels))
    return Description(
        path=path,
        character=character,
        labels=labels,
        segments=segments,
        character_segments=moves,
        motions=motions,
        caption=f"{said} {more}".strip(),
        outline=outline(segments, moves),
    )


def write_picture(found: Description, file: Path) -> Path:
    """The path from above and from the side, with its caption, as a PNG."""
    title = textwrap.shorten(found.caption, width=160, placeholder=" …")
    picture = path_picture(found.path.world_from_camera, found.character, title=title)
    return write_bytes(file, png_bytes(picture))
