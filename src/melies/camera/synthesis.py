"""Shots made by rule, whose motions are known exactly: a moving character, and a camera beside it.

Each shot is a row of phases; in a phase the camera and the character each keep one of the 27 motions of E.T.
A camera moves in its own axes, so that its label holds however it turns meanwhile. Speeds keep clear of the
thresholds of the tagger: what a shot is made to do is what the tagger sees, but for a few frames at the
borders, where motions ease into one another.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from melies.camera.framing import in_view
from melies.camera.labels import STATIC, signs_of
from melies.camera.motion import Motion
from melies.camera.path import FOCAL
from melies.camera.tag import FPS, Segment
from melies.config import check_range
from melies.errors import UserError
from melies.geometry import angles_of, direction_of, pose_of, rotation_looking

Vector = tuple[float, float, float]

CAMERA_SHARES = (0.3, 0.45, 0.2, 0.05)
"""How often a phase of the camera is still, or moves along one axis, two or three."""
CHARACTER_SHARES = (0.45, 0.47, 0.08, 0.0)
"""The same of the character."""
CHARACTER_AXES = (0.7, 0.1, 0.2)
"""How often a character moves along x, y and z."""
NUM_PHASES = (0.5, 0.3, 0.15, 0.05)
"""How often a shot has one phase, two, three or four."""

CAMERA_SPEED = (0.08, 1.0)
"""m/s along the fastest axis."""
CHARACTER_SPEED = (0.4, 1.5)
"""m/s along the fastest axis."""
SLOWEST_SHARE = 0.75
"""Least speed of a further axis, as a share of the fastest: above 1 minus what drops an axis."""
CAMERA_WOBBLE = 0.006
"""Most speed of an axis of the camera that is still, m/s."""
CHARACTER_WOBBLE = 0.08
"""The same of the character."""
EASE = 6
"""Frames in which one motion becomes the next."""

LAG = 0.12
"""Share of the way to its character that a camera which looks at it turns in a frame."""
IN_VIEW = 0.85
"""Least share of frames in which the character is in the picture."""
ZOOM_RATE = (0.06, 0.4)
"""Of the focal length's logarithm, a second: well above what counts as a zoom."""
MOST_ZOOM = 2.5
"""Times that the focal length grows or shrinks."""
CHUNK = 512
"""Shots integrated at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisConfig:
    """Which shots are made."""

    least_frames: int = 60
    """Frames of the shortest shot, and steps of the shortest phase: above the tagger's window."""
    most_frames: int = 300
    """Frames of the longest shot."""
    follow: float = 0.25
    """Share of the shots with a moving character in which the camera goes along with it."""
    zoom: float = 0.0
    """Share of the shots in which the lens zooms."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("least_frames", self.least_frames, low=2)
        check_range("most_frames", self.most_frames, low=self.least_frames)
        check_range("follow", self.follow, low=0, high=1)
        check_range("zoom", self.zoom, low=0, high=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shot:
    """A camera path beside its character, with what both were made to do."""

    world_from_camera: Float64[ndarray, "n 4 4"]
    """Metres; the origin is where the character's hips are at the first frame."""
    character: Float64[ndarray, "n 3"]
    """Where its hips are, metres."""
    camera_segments: tuple[Segment, ...]
    """Over the n − 1 steps."""
    character_segments: tuple[Segment, ...]
    follows: bool
    """Whether the camera was made to go along with the character."""
    focal: Float64[ndarray, " n"] | None = None
    """Of the lens, in heights of the picture; None where it is E.T.'s all the time."""
    zoom: Motion | None = None
    """What the lens was made to do."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Plan:
    frames: int
    camera: tuple[Segment, ...]
    character: tuple[Segment, ...]
    camera_velocity: ndarray
    character_velocity: ndarray
    start: ndarray
    yaw: float
    """Away from the character, radians."""
    pitch: float
    pan: float
    """Radians a second."""
    looks: bool
    follows: bool


def synthesize(count: int, *, seed: int, config: SynthesisConfig | None = None) -> Iterator[Shot]:
    """`count` shots in which the character is seen; the same for the same seed, whatever the count.

    Raises:
        UserError: If nearly no shot with these settings keeps its character in the picture.
    """
    rng = np.random.default_rng(seed)
    made = 0
    for _ in range(20 + 20 * count // CHUNK):
        plans = [_plan(rng, config or SynthesisConfig()) for _ in range(CHUNK)]
        for plan, poses, character in _carried_out(plans):
            if made == count:
                return
            if in_view(poses, character).mean() >= IN_VIEW:
                focal, zoom = _zoomed(plan, poses, character, np.random.default_rng([seed, made, 7]), config)
                made += 1
                yield Shot(
                    world_from_camera=poses,
                    character=character,
                    camera_segments=plan.camera,
                    character_segments=plan.character,
                    follows=plan.follows,
                    focal=focal,
                    zoom=zoom,
                )
    if made < count:
        raise UserError(f"only {made} of {count} shots keep their character in the picture")


def _plan(rng: np.random.Generator, config: SynthesisConfig) -> _Plan:
    most = min(len(NUM_PHASES), config.most_frames // config.least_frames)
    shares = np.array(NUM_PHASES[:most])
    num = 1 + int(rng.choice(most, p=shares / shares.sum()))
    frames = int(
        rng.integers(max(config.least_frames, num * config.least_frames + 1), config.most_frames + 1)
    )
    borders = _borders(num, frames - 1, config.least_frames, rng)
    whole = [0, frames - 1]
    # Both change at the same moments, or only one of them changes.
    which = rng.choice(3, p=(0.5, 0.3, 0.2)) if num > 1 else 0
    character = _segments(whole if which == 1 else borders, CHARACTER_SHARES, CHARACTER_AXES, rng)
    moves = any(one.label != STATIC for one in character)
    follows = moves and rng.random() < config.follow
    camera = (
        character if follows else _segments(whole if which == 2 else borders, CAMERA_SHARES, (1, 1, 1), rng)
    )
    walked = _velocity(character, CHARACTER_SPEED, CHARACTER_WOBBLE, rng)
    own = walked if follows else _velocity(camera, CAMERA_SPEED, CAMERA_WOBBLE, rng)
    if follows:  # a camera that stands is steadier than who stands
        own = np.where(np.abs(own) > CHARACTER_WOBBLE, own, own * CAMERA_WOBBLE / CHARACTER_WOBBLE)
    looks = not follows and rng.random() < 0.6
    pans = not follows and not looks and rng.random() < 0.3
    start = np.array([rng.normal(0, 0.6), rng.normal(-0.3, 0.3), -rng.uniform(1.2, 4.5)])
    if follows:
        start[0] *= 0.5
    yaw, pitch = np.deg2rad([rng.normal(0, 6), rng.normal(0, 3)])
    return _Plan(
        frames=frames,
        camera=camera,
        character=character,
        camera_velocity=own,
        character_velocity=walked,
        start=start,
        yaw=float(yaw),
        pitch=float(pitch),
        pan=float(np.deg2rad(rng.uniform(-12, 12))) if pans else 0.0,
        looks=bool(looks),
        follows=bool(follows),
    )


def _zoomed(
    plan: _Plan, poses: ndarray, character: ndarray, rng: np.random.Generator, config: SynthesisConfig | None
) -> tuple[ndarray | None, Motion | None]:
    """A lens that zooms over one of the camera's motions or the whole shot; in only where all stays seen."""
    if config is None or rng.random() >= config.zoom:
        return None, None
    span = plan.camera[int(rng.integers(len(plan.camera)))]
    start, end = (0, plan.frames - 1) if rng.random() < 0.4 else (span.start, span.end)
    seconds = (end - start) / FPS
    rate = float(np.exp(rng.uniform(*np.log(ZOOM_RATE))))
    whole = min(rate * seconds, np.log(MOST_ZOOM))
    share = np.clip((np.arange(plan.frames) - start) / (end - start), 0, 1)
    way = "in" if rng.random() < 0.5 else "out"
    focal = FOCAL * np.exp((1 if way == "in" else -1) * whole * share)
    if in_view(poses, character, focal=focal).mean() < IN_VIEW:
        way, focal = "out", FOCAL * np.exp(-whole * share)
    return focal, Motion(f"zoom_{way}", start, end)


def _borders(num: int, steps: int, least: int, rng: np.random.Generator) -> list[int]:
    """Where phases begin and end, none shorter than `least` but where there is one."""
    spare = steps - num * least
    cuts = np.sort(rng.integers(0, max(spare, 0) + 1, num - 1))
    return [0, *(int(cut) + (i + 1) * least for i, cut in enumerate(cuts)), steps]


def _segments(
    borders: Sequence[int], shares: Sequence[float], axes: Sequence[float], rng: np.random.Generator
) -> tuple[Segment, ...]:
    """A motion for each phase, another than in the phase before."""
    found: list[Segment] = []
    for start, end in itertools.pairwise(borders):
        label = None
        while label is None or (found and found[-1].label == label):
            label = _label(shares, axes, rng)
        found.append(Segment(label, start, end))
    return tuple(found)


def _label(shares: Sequence[float], axes: Sequence[float], rng: np.random.Generator) -> int:
    num = int(rng.choice(4, p=shares))
    chosen = rng.choice(3, size=num, replace=False, p=np.array(axes) / np.sum(axes))
    digits = np.zeros(3, np.int64)
    digits[chosen] = rng.integers(1, 3, size=num)
    return int(digits @ [9, 3, 1])


def _velocity(
    segments: Sequence[Segment], speeds: tuple[float, float], wobble: float, rng: np.random.Generator
) -> ndarray:
    """(n − 1, 3) m/s: the motion of each phase, easing from one to the next, never quite steady."""
    steps = segments[-1].end
    at = np.arange(steps) / FPS
    aimed = np.zeros((steps, 3))
    for segment in segments:
        fastest = np.exp(rng.uniform(*np.log(speeds)))
        shares = rng.uniform(SLOWEST_SHARE, 1, size=3)
        aimed[segment.start : segment.end] = signs_of(segment.label) * shares * fastest
    swell = 1 + 0.1 * np.sin(2 * np.pi * (rng.uniform(0.05, 0.3) * at + rng.random()))
    drift = np.sin(2 * np.pi * (rng.uniform(0.1, 1.0, 3) * at[:, None] + rng.random(3)))
    still = aimed == 0
    aimed = aimed * swell[:, None]
    for segment in segments[1:]:
        low, high = max(segment.start - EASE // 2, 0), min(segment.start + EASE // 2, steps)
        share = (np.arange(low, high) - low + 0.5)[:, None] / (high - low)
        aimed[low:high] = (1 - share) * aimed[low - 1] + share * aimed[high - 1]
    return aimed + still * drift * wobble * rng.uniform(0, 1, 3)


def _carried_out(plans: Sequence[_Plan]) -> Iterator[tuple[_Plan, ndarray, ndarray]]:
    """Every plan with its poses and its character: position and gaze are led on frame by frame."""
    longest = max(plan.frames for plan in plans)
    own, walked = (
        np.stack([np.pad(track, ((0, longest - len(track)), (0, 0))) for track in tracks])
        for tracks in (
            [plan.camera_velocity for plan in plans],
            [plan.character_velocity for plan in plans],
        )
    )
    character = np.cumsum(np.concatenate([np.zeros((len(plans), 1, 3)), walked[:, :-1] / FPS], 1), axis=1)
    position = np.stack([plan.start for plan in plans])
    yaw, pitch = angles_of(character[:, 0] - position)
    looks = np.array([plan.looks for plan in plans])
    # Who goes along faces the way that the axes of the world do, so that both have the same label.
    yaw = np.where([plan.follows for plan in plans], 0.0, yaw + [plan.yaw for plan in plans])
    pitch = np.where([plan.follows for plan in plans], 0.0, pitch + [plan.pitch for plan in plans])
    pan = np.array([plan.pan for plan in plans]) / FPS
    poses = np.empty((len(plans), longest, 4, 4))
    for frame in range(longest):
        rotation = rotation_looking(direction_of(yaw, pitch))
        poses[:, frame] = pose_of(rotation, position)
        position = position + (rotation @ own[:, frame, :, None])[..., 0] / FPS
        if frame + 1 < longest:
            to_yaw, to_pitch = angles_of(character[:, frame + 1] - position)
            turn = (to_yaw - yaw + np.pi) % (2 * np.pi) - np.pi
            yaw = yaw + np.where(looks, LAG * turn, pan)
            pitch = pitch + np.where(looks, LAG * (to_pitch - pitch), 0)
    for index, plan in enumerate(plans):
        yield plan, poses[index, : plan.frames], character[index, : plan.frames]
