"""A camera path: where a camera is and where it looks, frame by frame, and through what lens."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from melies.errors import UserError
from melies.geometry import nearest_rotation

ASPECT = 16 / 9
"""Width by height of a picture of which nothing is known."""
FOCAL = (ASPECT + 1) / 2
"""In heights of the picture: SLAHMR's guess (width + height)/2, which all E.T. paths carry."""
REPAIRED = 1e-3
"""How far a rotation may be from orthonormal and is still made so."""
EXACT = 1e-12
"""From which on they are."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CameraPath:
    """Poses with their times; OpenCV axes (x right, y down, z forward), metres, seconds.

    Raises:
        UserError: Of poses that are not finite or no rigid motions, of times that do not increase, and of
            lenses that are not positive; the frame is named.
    """

    world_from_camera: Float64[ndarray, "n 4 4"]
    """Where the camera is in each frame."""
    times: Float64[ndarray, " n"]
    """Seconds, increasing."""
    lens: Float64[ndarray, "n 4"] | None = None
    """fx/width, fy/height, cx/width, cy/height of each frame; None where nothing is known of it."""
    aspect: float | None = None
    """Width of the picture by its height; None where it is not known."""

    def __post_init__(self) -> None:
        """Check the frames; rotations that are nearly orthonormal are made so."""
        poses = np.array(self.world_from_camera, np.float64)
        times = np.asarray(self.times, np.float64)
        if poses.ndim != 3 or poses.shape[1:] != (4, 4) or times.shape != (len(poses),):
            raise ValueError(f"poses of {poses.shape} and times of {times.shape}")
        if not len(poses):
            raise UserError("a path needs at least one pose")
        _first_bad(~np.isfinite(poses).all((1, 2)), "a pose that is not finite")
        rotation = poses[:, :3, :3]
        error = np.abs(rotation @ np.swapaxes(rotation, 1, 2) - np.eye(3)).max((1, 2))
        far = (error > REPAIRED) | (np.linalg.det(rotation) < 0)
        _first_bad(
            far, "a rotation that is not orthonormal", f"off by {error[far][0]:.2g}" if far.any() else ""
        )
        off = error > EXACT
        poses[off, :3, :3] = nearest_rotation(rotation[off])
        poses[:, 3] = (0.0, 0.0, 0.0, 1.0)
        _first_bad(~np.isfinite(times), "a time that is not finite")
        _first_bad(np.concatenate([[False], np.diff(times) <= 0]), "a time that does not go on")
        if self.lens is not None:
            lens = np.asarray(self.lens, np.float64)
            if lens.shape != (len(poses), 4):
                raise ValueError(f"lenses of {lens.shape} for {len(poses)} poses")
            _first_bad(
                ~(np.isfinite(lens).all(1) & (lens[:, :2] > 0).all(1)),
                "a lens without a positive focal length",
            )
            object.__setattr__(self, "lens", lens)
        if self.aspect is not None and not (np.isfinite(self.aspect) and self.aspect > 0):
            raise UserError(f"an aspect of {self.aspect}", remedy="give width by height, above 0")
        object.__setattr__(self, "world_from_camera", poses)
        object.__setattr__(self, "times", times)

    def __len__(self) -> int:
        return len(self.times)

    def with_poses(self, world_from_camera: Float64[ndarray, "n 4 4"]) -> "CameraPath":
        """The same times and lens with other poses."""
        return replace(self, world_from_camera=world_from_camera)

    @property
    def fps(self) -> float:
        """Frames a second: the most usual distance of two times; 25 for a single frame."""
        return float(1 / np.median(np.diff(self.times))) if len(self) > 1 else 25.0

    @property
    def position(self) -> Float64[ndarray, "n 3"]:
        """Where the camera is, metres."""
        return self.world_from_camera[:, :3, 3]


def at_frame_rate(world_from_camera: Float64[ndarray, "n 4 4"], fps: float, **fields) -> CameraPath:
    """A path of so many frames a second, from 0 on; `fields` are those of `CameraPath`.

    Raises:
        UserError: If `fps` is not positive, and as `CameraPath`.
    """
    if not (np.isfinite(fps) and fps > 0):
        raise UserError(f"{fps} frames a second", where="fps", remedy="give a number above 0")
    return CameraPath(
        world_from_camera=world_from_camera, times=np.arange(len(world_from_camera)) / fps, **fields
    )


def lens_of(path: CameraPath) -> tuple[Float64[ndarray, "n 4"], float]:
    """Lens and aspect; for what is not known of them those of E.T., which are SLAHMR's guess."""
    aspect = path.aspect or ASPECT
    if path.lens is not None:
        return path.lens, aspect
    focal = (aspect + 1) / 2
    return np.tile([focal / aspect, focal, 0.5, 0.5], (len(path), 1)), aspect


def _first_bad(bad: Any, what: str, detail: str = "") -> None:
    if bad.any():
        frame = int(np.flatnonzero(bad)[0])
        raise UserError(f"{what} at frame {frame}" + (f", {detail}" if detail else ""))
