"""Where a camera was, from its pictures: still, turning on a tripod, or moving, as COLMAP finds it.

What most shots of films do gives a reconstruction nothing to hold on to: a camera that stands still, or only
turns, sees no depth. So points are followed first; only where they move as those of no single plane at
infinity do, structure from motion is asked.
"""

import itertools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8
from numpy import ndarray
from PIL import Image

from melies.config import check_positive, check_range
from melies.errors import UserError
from melies.files import write_bytes
from melies.geometry import interpolate, inverse, nearest_rotation
from melies.optional import require
from melies.report.png import png_bytes

Picture = UInt8[ndarray, "h w 3"]
Kind = Literal["still", "turning", "moving"]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom as shares of the picture."""

MOST_POINTS = 600
NEAR_PX = 3.0
"""How near to where a turning camera would see it a point must come, in a picture 640 wide."""
SEED = 0
"""Of COLMAP's draws."""
LEAST_POINTS = 30
"""Points that must be followed from one keyframe to the next for its motion to be known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructionConfig:
    """How poses are found."""

    keyframes: int = 90
    """Pictures of a shot that are looked at; poses between them are interpolated."""
    side: int = 640
    """Pictures are made as small as this, along their longer side."""
    still_px: float = 1.0
    """Median way of points below which the camera stands still, in a picture 640 wide."""
    turning_share: float = 0.8
    """Share of points that a camera which only turns explains; below it moves."""
    focal: float | None = None
    """Focal length in widths; none: (width + height)/2 as E.T. has it, and refined if the camera moves."""
    least_share: float = 0.6
    """Share of the keyframes that a reconstruction must place."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("keyframes", "side", "still_px"):
            check_positive(name, getattr(self, name))
        for name in ("turning_share", "least_share"):
            check_range(name, getattr(self, name), low=0, high=1)
        if self.focal is not None:
            check_positive("focal", self.focal)


class Reconstruction(NamedTuple):
    """Where the camera was at each picture of a shot."""

    kind: Kind
    start: int
    """The first picture whose pose is known."""
    world_from_camera: Float64[ndarray, "n 4 4"]
    """Of the pictures from there on, in units of its own; the first keyframe's camera is the world."""
    lens: Float64[ndarray, "4"]
    """fx/width, fy/height, cx/width, cy/height."""
    points: Float64[ndarray, "m 3"]
    """What was seen of the scene, in that world; none unless the camera moves."""


def reconstruct(
    pictures: Sequence[Picture],
    config: ReconstructionConfig,
    *,
    without: Sequence[Box | None] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Reconstruction:
    """Where the camera was at each picture of one shot.

    Args:
        pictures: Of one shot, in order, of one size.
        config: How poses are found.
        without: For each picture the part that is not looked at, as there somebody moves.
        say: Told what the camera does.

    Raises:
        UserError: If there are too few pictures or points, or COLMAP places too few of them.
    """
    if len(pictures) < 2:
        raise UserError(f"{len(pictures)} pictures are too few to see a camera move")
    times = np.unique(
        np.linspace(0, len(pictures) - 1, min(config.keyframes, len(pictures))).round().astype(int)
    )
    boxes = without or [None] * len(pictures)
    small = [_view(shrink(pictures[time], config.side), boxes[time]) for time in times]
    height, width = small[0].picture.shape[:2]
    focal = config.focal * width if config.focal is not None else (width + height) / 2
    lens = np.array([focal / width, focal / height, 0.5, 0.5])
    kind, rotations = _judge(small, focal, config)
    say(f"the camera is {kind}")
    everywhere = np.arange(len(pictures), dtype=np.float64)
    nothing = np.zeros((0, 3))
    if kind != "moving":
        poses = np.tile(np.eye(4), (len(times), 1, 1))
        poses[:, :3, :3] = rotations
        return Reconstruction(
            kind, 0, interpolate(poses, times.astype(np.float64), everywhere), lens, nothing
        )
    placed, poses, lens, points = _by_colmap(small, focal, config)
    known = times[placed].astype(np.float64)
    between = everywhere[int(known[0]) : int(known[-1]) + 1]
    return Reconstruction(kind, int(known[0]), interpolate(poses, known, between), lens, points)


def shrink(picture: Picture, side: int) -> Picture:
    """A picture made as small as `side`, along its longer one."""
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.BOX)
    return np.asarray(image)


class _View(NamedTuple):
    """A picture, and where it may be looked at."""

    picture: Picture
    mask: UInt8[ndarray, "h w"]
    """255 where it may, 0 where not."""


def _view(picture: Picture, without: Box | None) -> _View:
    height, width = picture.shape[:2]
    mask = np.full((height, width), 255, np.uint8)
    if without is not None:
        left, top, right, bottom = np.clip(without, 0, 1)
        mask[
            int(top * height) : int(np.ceil(bottom * height)), int(left * width) : int(np.ceil(right * width))
        ] = 0
    return _View(picture, mask)


def _follow(before: _View, after: _View) -> Float64[ndarray, "m 2 2"]:
    """Where corners of one picture are in it and in the other, pixels; those that lead back to themselves.

    Lucas and Kanade's tracker, with its usual pyramid (Bouguet 2001).
    """
    cv2 = require("cv2", extra="video", why="following points through pictures")
    grey, next_grey = (cv2.cvtColor(one.picture, cv2.COLOR_RGB2GRAY) for one in (before, after))
    corners = cv2.goodFeaturesToTrack(grey, MOST_POINTS, 0.01, 7, mask=before.mask)
    if corners is None:
        return np.zeros((0, 2, 2))
    there, found, _ = cv2.calcOpticalFlowPyrLK(grey, next_grey, corners, None)
    back, again, _ = cv2.calcOpticalFlowPyrLK(next_grey, grey, there, None)
    same = np.linalg.norm(back - corners, axis=-1)[:, 0] < 0.5
    kept = same & (found[:, 0] == 1) & (again[:, 0] == 1)
    return np.stack([corners[kept, 0], there[kept, 0]], axis=1).astype(np.float64)


def _judge(
    small: Sequence[_View], focal: float, config: ReconstructionConfig
) -> tuple[Kind, Float64[ndarray, "k 3 3"]]:
    """What the camera does, and its rotation at each keyframe as long as it does not move."""
    height, width = small[0].picture.shape[:2]
    unit = width / 640
    far = max(len(small) // 6, 1)
    firsts = range(0, len(small) - far, max(far // 2, 1))
    apart = [_follow(small[first], small[first + far]) for first in firsts]
    from_first = [_follow(small[0], small[later]) for later in range(far, len(small), far)]
    ways = [np.median(np.linalg.norm(one[:, 1] - one[:, 0], axis=1)) for one in from_first if len(one)]
    nothing = np.tile(np.eye(3), (len(small), 1, 1))
    if len(ways) == len(from_first) and max(ways, default=np.inf) < config.still_px * unit:
        return "still", nothing
    enough = [one for one in apart if len(one) >= LEAST_POINTS]
    shares = [fit_rotation(_rays(one, focal, (width, height)), NEAR_PX * unit / focal)[1] for one in enough]
    if not shares or np.median(shares) < config.turning_share:
        return "moving", nothing
    rotations = [np.eye(3)]
    for before, after in itertools.pairwise(small):
        points = _follow(before, after)
        if len(points) < LEAST_POINTS:
            raise UserError(
                f"only {len(points)} points can be followed from one picture to the next",
                remedy="give a shot without cuts, that is not all one colour",
            )
        turn, _ = fit_rotation(_rays(points, focal, (width, height)), NEAR_PX * unit / focal)
        rotations.append(rotations[-1] @ turn)
    return "turning", nearest_rotation(np.stack(rotations))


def _rays(points: ndarray, focal: float, size: tuple[int, int]) -> Float64[ndarray, "m 2 3"]:
    """The directions in which points are seen, of length 1."""
    centre = (np.array(size) - 1) / 2
    rays = np.concatenate([(points - centre) / focal, np.ones((*points.shape[:-1], 1))], axis=-1)
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def fit_rotation(
    rays: Float64[ndarray, "m 2 3"], near: float, *, trials: int = 200
) -> tuple[Float64[ndarray, "3 3"], float]:
    """The rotation before_from_after that most directions agree with, and the share that does.

    Random sample consensus of pairs (Fischler & Bolles 1981), each by Kabsch's solution, and that of all that
    agree at last.

    Args:
        rays: Directions before and after, of length 1; at least two.
        near: Greatest distance of directions that agree.
        trials: Pairs that are drawn; always the same ones.
    """
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(rays), (trials, 2))
    turns = _kabsch(rays[chosen])
    agree = np.linalg.norm(rays[None, :, 1] @ np.swapaxes(turns, -1, -2) - rays[None, :, 0], axis=-1) < near
    best = agree[agree.sum(1).argmax()]
    for _ in range(3):
        turn = _kabsch(rays[None, best])[0]
        best = np.linalg.norm(rays[:, 1] @ turn.T - rays[:, 0], axis=-1) < near
        if best.sum() < 2:
            return turn, 0.0
    return turn, float(best.mean())


def _kabsch(rays: Float64[ndarray, "t m 2 3"]) -> Float64[ndarray, "t 3 3"]:
    """The rotations that bring the second of each pair nearest to the first."""
    return nearest_rotation(np.swapaxes(rays[:, :, 0], -1, -2) @ rays[:, :, 1])


def _by_colmap(
    small: Sequence[_View], focal: float, config: ReconstructionConfig
) -> tuple[list[int], Float64[ndarray, "k 4 4"], Float64[ndarray, "4"], Float64[ndarray, "m 3"]]:
    """Which keyframes have a pose, their poses, the lens and the scene, by structure from motion."""
    colmap = require("pycolmap", extra="sfm", why="finding where a camera was")
    colmap.logging.minloglevel = 3
    height, width = small[0].picture.shape[:2]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pictures, masks = folder / "pictures", folder / "masks"
        for index, view in enumerate(small):
            write_bytes(pictures / f"{index:06d}.png", png_bytes(Image.fromarray(view.picture)))
            write_bytes(masks / f"{index:06d}.png.png", png_bytes(Image.fromarray(view.mask)))
        database = folder / "database.db"
        colmap.set_random_seed(SEED)
        reader = colmap.ImageReaderOptions()
        reader.mask_path = masks
        reader.camera_model = "SIMPLE_PINHOLE"
        reader.camera_params = f"{focal},{width / 2},{height / 2}"
        colmap.extract_features(
            database, pictures, camera_mode=colmap.CameraMode.SINGLE, reader_options=reader
        )
        colmap.match_sequential(database)
        options = colmap.IncrementalPipelineOptions()
        options.random_seed = SEED
        options.ba_refine_focal_length = config.focal is None
        options.mapper.init_min_tri_angle = 4.0  # neighbouring pictures of a film are near one another
        options.extract_colors = False
        models = colmap.incremental_mapping(database, pictures, folder / "models", options)
        model = max(models.values(), key=lambda one: one.num_reg_images(), default=None)
        placed = {} if model is None else _placed(model)
        if model is None or len(placed) < max(2, config.least_share * len(small)):
            raise UserError(
                f"COLMAP places {len(placed)} of {len(small)} pictures: it sees too little move, or stay",
                remedy="give a shot with texture and without cuts, or a path that other software found",
            )
        order = sorted(placed)
        world = np.stack([placed[index] for index in order])
        camera = next(iter(model.cameras.values()))
        points = np.stack([point.xyz for point in model.points3D.values()])
        found = camera.focal_length
    poses = inverse(world[:1]) @ world
    back = inverse(world[:1])[0]
    points = points @ back[:3, :3].T + back[:3, 3]
    return order, poses, np.array([found / width, found / height, 0.5, 0.5]), points


def _placed(model: Any) -> dict[int, Float64[ndarray, "4 4"]]:
    """world_from_camera by the number of the picture."""
    found = {}
    for image in model.images.values():
        if image.has_pose:
            pose = np.eye(4)
            pose[:3] = image.cam_from_world().matrix()
            found[int(Path(image.name).stem)] = inverse(pose[None])[0]
    return found
