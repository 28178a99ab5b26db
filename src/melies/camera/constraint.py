"""What a path is held to while it is drawn: poses that it passes through, and where its character is seen.

At every step the path that the network expects is put right, and the sampler goes on from there: the part of
the path that is free is led to what is fixed (in-painting, by what is known of x0: Lugmayr et al. 2022, Wang
et al. 2023). The last step leaves what was put right as it is, so that what was asked for holds exactly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray
from torch import Tensor

from melies.camera.features import Axes
from melies.camera.framing import at_size, keep_in_view
from melies.config import check_range
from melies.errors import UserError
from melies.geometry import direction_of, exp_rotation, log_rotation, rotation_looking
from melies.interfaces import Denoise

if TYPE_CHECKING:
    from melies.camera.model import CameraDiffusion

Poses = Float64[ndarray, "n 4 4"]


class Key(NamedTuple):
    """A pose to pass through, or half of one."""

    position: Float64[ndarray, "3"] | None = None
    """Metres, in the world of the character."""
    rotation: Float64[ndarray, "3 3"] | None = None
    """`world_from_camera`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """What a path is held to; nothing is the default."""

    keys: Mapping[int, Key] = field(default_factory=dict)
    """Frame → pose; a frame below 0 counts from the end."""
    margin: float | None = None
    """Share of the picture, on each side, that the character keeps out of; free if not given."""
    size: float | None = None
    """Picture heights that the character is tall at the first frame; free if not given."""
    speed: float = 1.0
    """The camera's steps are so many times as long as drawn; keys and margins hold nonetheless."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.margin is not None:
            check_range("margin", self.margin, low=0, high=0.45)
        if self.size is not None:
            check_range("size", self.size, low=0.05, high=4)
        check_range("speed", self.speed, low=0, high=10)

    @property
    def holds(self) -> bool:
        """Whether anything is held while drawing."""
        return bool(self.keys) or self.margin is not None or self.size is not None

    def seen_from(self, origin: Float64[ndarray, "3"]) -> "Constraint":
        """The same where `origin` is the origin."""
        keys = {
            frame: key if key.position is None else key._replace(position=key.position - origin)
            for frame, key in self.keys.items()
        }
        return replace(self, keys=keys)


def read_key(text: str, *, where: str) -> Key:
    """A key as it is typed: `x,y,z` in metres, with `,yaw,pitch` and `,roll` in degrees where they are meant.

    Yaw is to the right, pitch upwards, and roll turns the camera clockwise, as seen from behind it.

    Raises:
        UserError: If it is not three, five or six finite numbers; `where` says which option it was.
    """
    try:
        numbers = np.array([float(word) for word in text.split(",")])
    except ValueError:
        numbers = np.array([])
    if len(numbers) not in (3, 5, 6) or not np.isfinite(numbers).all():
        raise UserError(
            f"{text!r} is not a pose",
            where=where,
            remedy="give x,y,z in metres, and then, if the camera's turn is fixed too, yaw,pitch or"
            " yaw,pitch,roll in degrees",
        )
    if len(numbers) == 3:
        return Key(position=numbers)
    yaw, pitch, roll = np.deg2rad([*numbers[3:], 0.0][:3])
    looking = rotation_looking(direction_of(yaw, pitch))
    return Key(position=numbers[:3], rotation=looking @ exp_rotation(np.array([0.0, 0.0, roll])))


def put_right(
    world_from_camera: Poses,
    character: Float64[ndarray, "n 3"],
    constraint: Constraint,
    *,
    axes: Axes = "world",
) -> Poses:
    """The path as it is held: as tall, in view, and then through the keys to the last digit.

    What is missing at the keys is made up for evenly between them, and outside them as at the nearest.

    Raises:
        UserError: If a key is at a frame that is not there.
    """
    poses = world_from_camera
    if constraint.size is not None:
        poses = at_size(poses, character, constraint.size)
    if constraint.margin is not None:
        poses = keep_in_view(poses, character, constraint.margin, axes=axes)
    return _through(poses, constraint.keys)


def at_speed(world_from_camera: Poses, speed: float) -> Poses:
    """The path whose steps are `speed` times as long, with the same gaze."""
    poses = world_from_camera.copy()
    poses[1:, :3, 3] = poses[0, :3, 3] + speed * (poses[1:, :3, 3] - poses[0, :3, 3])
    return poses


def held(
    denoise: Denoise,
    model: "CameraDiffusion",
    characters: Sequence[Float64[ndarray, "_ 3"]],
    constraints: Sequence[Constraint],
    padded: Float64[Tensor, "b n 3"],
) -> Denoise:
    """A denoiser whose expectation keeps to what is held.

    Args:
        denoise: `(x, sigma) → x0`, features (b, 9, n).
        model: Whose features they are.
        characters: Each path's character from the origin on, as long as the path.
        constraints: One for each path.
        padded: The same characters, all as long as x.
    """
    if not any(constraint.holds for constraint in constraints):
        return denoise

    def denoised(x: Tensor, sigma: Tensor) -> Tensor:
        x0 = denoise(x, sigma)
        poses = model.decode(x0.double(), padded)
        right = poses.cpu().numpy().copy()
        for pose, character, constraint in zip(right, characters, constraints, strict=True):
            n = len(character)
            if constraint.holds:
                pose[:n] = put_right(pose[:n], character, constraint, axes=model.config.axes)
        put = torch.from_numpy(right).to(poses)
        change = model.encode(put, padded) - model.encode(poses, padded)
        return x0 + change.to(x0)

    return denoised


def _through(poses: Poses, keys: Mapping[int, Key]) -> Poses:
    n = len(poses)
    at = {frame + n if frame < 0 else frame: key for frame, key in keys.items()}
    for frame in at:
        if not 0 <= frame < n:
            raise UserError(f"a key at frame {frame} of a path of {n} frames")
    placed = {frame: key.position for frame, key in sorted(at.items()) if key.position is not None}
    turned = {frame: key.rotation for frame, key in sorted(at.items()) if key.rotation is not None}
    poses = poses.copy()
    frames = np.arange(n)
    if placed:
        missing = np.stack([position - poses[frame, :3, 3] for frame, position in placed.items()])
        poses[:, :3, 3] += _between(frames, list(placed), missing)
    if turned:
        relative = np.stack([rotation @ poses[frame, :3, :3].T for frame, rotation in turned.items()])
        turn = exp_rotation(_between(frames, list(turned), log_rotation(relative)))
        poses[:, :3, :3] = turn @ poses[:, :3, :3]
    return poses


def _between(frames: ndarray, at: Sequence[int], values: ndarray) -> ndarray:
    return np.stack([np.interp(frames, at, column) for column in values.T], axis=-1)
