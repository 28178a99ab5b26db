"""Camera paths from one format into another; axes, units, frame rate and lens are said where files do not."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from tyro.conf import arg

from melies.camera.formats import FORMATS, Format, find_format, format_for, read_path, write_as
from melies.camera.formats.axes import AXES
from melies.camera.path import CameraPath, at_frame_rate, lens_of
from melies.config import check_positive, check_range
from melies.errors import UserError, choose
from melies.geometry import interpolate

WRITTEN = ", ".join(name for name, kind in FORMATS.items() if kind.write)
READ = ", ".join(name for name, kind in FORMATS.items() if kind.read)
MAX_FRAMES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertSettings:
    """What a file does not say of itself, and what the other is to have."""

    from_format: Annotated[str | None, arg(metavar="NAME", help=f"What is read: {READ}.")] = None
    to_format: Annotated[str | None, arg(metavar="NAME", help=f"What is written: {WRITTEN}.")] = None
    from_camera: Annotated[str | None, arg(metavar="AXES")] = None
    """Axes of the camera that is read, if they are not those usual in its format."""
    from_world: Annotated[str | None, arg(metavar="AXES")] = None
    """Axes of its world."""
    to_camera: Annotated[str | None, arg(metavar="AXES")] = None
    """Axes of the camera that is written."""
    to_world: Annotated[str | None, arg(metavar="AXES")] = None
    """Axes of its world."""
    from_unit: Annotated[float | None, arg(metavar="METRES")] = None
    """Metres of one unit of what is read; 0.01 for centimetres."""
    to_unit: Annotated[float | None, arg(metavar="METRES")] = None
    """The same of what is written."""
    fps: float = 25.0
    """Frames a second of what says no times."""
    to_fps: Annotated[float | None, arg(metavar="FPS")] = None
    """Frames a second of what is written, drawn between those that are read; as they are if not given."""
    fov: Annotated[float | None, arg(metavar="DEGREES")] = None
    """Field of view from top to bottom, for what says no lens, or to take the place of its lens."""
    aspect: Annotated[float | None, arg(metavar="RATIO")] = None
    """Width of the picture by its height, in the same way."""

    def __post_init__(self) -> None:
        """Check names and ranges."""
        check_positive("fps", self.fps)
        for name in ("from_unit", "to_unit", "to_fps"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        for name in ("from_camera", "from_world", "to_camera", "to_world"):
            if getattr(self, name) is not None:
                choose(getattr(self, name), AXES, f"axes in --{name.replace('_', '-')}")
        if self.fov is not None:
            check_range("fov", self.fov, low=1, high=170)
        if self.aspect is not None:
            check_range("aspect", self.aspect, low=0.1, high=10)


class Conversion(NamedTuple):
    """What was written, and what is not as it was."""

    file: Path
    path: CameraPath
    notes: tuple[str, ...]
    """What was not known and is assumed, and what the format cannot say."""


def convert_path(
    source: Path, target: Path, settings: ConvertSettings, *, overwrite: bool = False
) -> Conversion:
    """Read a path, make it what is asked for, and write it, whole or not at all.

    Raises:
        UserError: If it is not read, the target is there and not to be overwritten, or axes are given to a
            format that has its own.
    """
    kind = _as_said(find_format(source, settings.from_format), settings, "from")
    other = _as_said(format_for(target, settings.to_format), settings, "to")
    if target.exists() and not overwrite:
        raise UserError("is there already", where=str(target), remedy="add --overwrite, or give another name")
    path = read_path(source, kind, settings.fps)
    notes = []
    if not kind.carries & {"times", "rate"}:
        notes.append(f"{source.name} says no times: {settings.fps:g} frames a second are assumed")
    path = _with_lens(path, settings)
    if settings.to_fps is not None:
        path = at_rate(path, settings.to_fps)
    wanted = other.carries & {"lens", "fov"} or not other.read
    if path.lens is None and wanted:
        fy, aspect = lens_of(path)[0][0, 1], lens_of(path)[1]
        fov = np.rad2deg(2 * np.arctan(0.5 / fy))
        notes.append(
            f"no lens is known: {fov:.1f}° from top to bottom and an aspect of {aspect:.3g} are assumed"
        )
    if other.read:
        notes += _lost(path, other)
    return Conversion(write_as(path, target, other), path, tuple(notes))


def at_rate(path: CameraPath, fps: float) -> CameraPath:
    """The path at another frame rate, from its first time on; poses and lens between frames are interpolated.

    Raises:
        UserError: If there would be too many frames.
    """
    if len(path) == 1:
        return path
    count = int(np.floor((path.times[-1] - path.times[0]) * fps + 1e-6)) + 1
    if count > MAX_FRAMES:
        raise UserError(f"{count:,} frames at {fps:g} a second", remedy=f"at most {MAX_FRAMES:,} are written")
    at = path.times[0] + np.arange(count) / fps
    lens = path.lens
    if lens is not None:
        lens = np.stack([np.interp(at, path.times, column) for column in lens.T], axis=1)
    return CameraPath(
        world_from_camera=interpolate(path.world_from_camera, path.times, at),
        times=at,
        lens=lens,
        aspect=path.aspect,
    )


def _as_said(kind: Format, settings: ConvertSettings, side: str) -> Format:
    """The format with the axes and the unit that were said."""
    said = {
        field: getattr(settings, f"{side}_{field}")
        for field in ("camera", "world", "unit")
        if getattr(settings, f"{side}_{field}") is not None
    }
    if said and kind.own_axes:
        raise UserError(
            f"its {' and '.join(said)} cannot be other than they are in this format",
            where=f"--{side}-{next(iter(said))}",
            remedy="leave it out",
        )
    return kind._replace(**said)


def _with_lens(path: CameraPath, settings: ConvertSettings) -> CameraPath:
    if settings.aspect is not None and settings.fov is None:
        if path.lens is None:
            return replace(path, aspect=settings.aspect)
        lens = path.lens.copy()
        lens[:, 0] = lens[:, 1] / settings.aspect
        return replace(path, lens=lens, aspect=settings.aspect)
    if settings.fov is None:
        return path
    aspect = settings.aspect or lens_of(path)[1]
    fy = 0.5 / np.tan(np.deg2rad(settings.fov) / 2)
    return replace(path, lens=np.tile([fy / aspect, fy, 0.5, 0.5], (len(path), 1)), aspect=aspect)


def _lost(path: CameraPath, kind: Format) -> list[str]:
    """What the path has and the format cannot say."""
    notes, even = [], at_frame_rate(path.world_from_camera, path.fps).times + path.times[0]
    if not kind.carries & {"times", "rate"}:
        notes.append(f"{path.fps:g} frames a second are not written: the format says no times")
    elif "times" not in kind.carries and not np.allclose(even, path.times, atol=1e-4):
        notes.append("times that are not even are not written, only their rate")
    if path.lens is None:
        return notes
    if not kind.carries & {"lens", "fov"}:
        notes.append("the lens is not written: the format says none")
    elif "lens" not in kind.carries and not np.allclose(path.lens[:, 2:], 0.5, atol=1e-6):
        notes.append("the centre of the lens is not written, only its field of view")
    return notes
