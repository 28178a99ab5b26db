"""Videos into a set in E.T.'s layout: shots, where camera and character are, what they do, captions.

Courant et al. (2024), §3, with parts that need no accelerator: shots by PySceneDetect, poses by COLMAP, or
read from what other software found, the character from there or from its joints in the pictures, which is
approximate (`melies.camera.lift`). Scenes, cleaning, tags and files are those of the paper.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy import ndarray
from tyro.conf import arg

from melies.camera.align import Window
from melies.camera.build_report import sample_picture
from melies.camera.caption import write_caption
from melies.camera.caption_chat import ask_caption
from melies.camera.character import read_character
from melies.camera.chunks import Chunk, find_chunks
from melies.camera.clean import CleaningConfig, fill_gaps
from melies.camera.convert import at_rate
from melies.camera.describe import ReadSettings, open_path
from melies.camera.et import Sample, path_of, write_sample
from melies.camera.lift import find_scale, lift_hips
from melies.camera.reconstruct import Box, Picture, Reconstruction, ReconstructionConfig, reconstruct, shrink
from melies.camera.tag import FPS, find_segments, tag_camera, tag_character
from melies.config import check_positive, check_range
from melies.errors import UserError
from melies.files import write_bytes
from melies.geometry import interpolate
from melies.report.png import png_bytes
from melies.text.chat import CachedChat, ChatConfig, open_chat
from melies.video.blazepose import open_blazepose
from melies.video.decode import Frame, describe_video, frames_every
from melies.video.pose import Pose, draw_poses
from melies.video.shots import Shot, find_shots, read_shots

ROOM = 0.25
"""Around somebody's joints, as a share of what they take."""
STRIP = 6
"""Pictures of a sample that are shown beside its path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildConfig:
    """What becomes of a video."""

    detector: Annotated[str | None, arg(metavar="NAME")] = None
    """What finds shots: scenedetect or transnetv2; the second where it is installed."""
    shots: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Lists of shots instead: NAME.txt of each video, first and last picture a line."""
    poses: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Camera paths that other software found: NAME_00003.* of shot 3, in any format that is read."""
    read: Annotated[ReadSettings, arg(name="poses")] = ReadSettings()
    """What those files do not say of themselves."""
    characters: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Characters that other software found, in the world of the poses: NAME_00003.* of shot 3."""
    pose_weights: Annotated[Path | None, arg(metavar="PATH")] = None
    """The wheel of mediapipe 0.10.21, or its unpacked files: what finds people's joints."""
    least_seconds: float = 2.4
    """Shorter shots are left out."""
    most_seconds: float = 40.0
    """Longer ones too."""
    reconstruction: Annotated[ReconstructionConfig, arg(name="")] = ReconstructionConfig()
    cleaning: Annotated[CleaningConfig, arg(name="")] = field(default_factory=CleaningConfig)
    chat: ChatConfig = ChatConfig(temperature=0.6, top_p=0.95, max_tokens=300)
    """The language model that writes captions; none is named: a small grammar writes them."""
    seed: int = 0
    """Of the captions' wording."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_positive("least_seconds", self.least_seconds)
        check_range("most_seconds", self.most_seconds, low=self.least_seconds)


class Task(NamedTuple):
    """A video, and what to do with it: what a worker is handed."""

    video: Path
    root: Path
    config: BuildConfig


def build_video(task: Task) -> dict[str, Any]:
    """Write the samples of a video and a picture of each, and tell what became of every shot.

    Raises:
        UserError: If the video cannot be read, or none of its shots is long enough.
    """
    video, root, config = task
    if config.pose_weights is not None:
        open_blazepose(config.pose_weights)  # what is missing is said before there is much work
    chat = open_chat(config.chat) if config.chat.model else None
    shots = _shots(video, config)
    rows, long = [], 0
    for number, shot, pictures in _pictures_of(video, shots, config):
        length = shot.end_s - shot.start_s
        row: dict[str, Any] = {"shot": number, "start": round(shot.start_s, 3), "end": round(shot.end_s, 3)}
        if not config.least_seconds <= length <= config.most_seconds:
            row["left out"] = f"{length:.1f} s long"
        else:
            long += 1
            try:
                row |= _build_shot(video, number, pictures, root, config, chat)
            except UserError as error:
                row["left out"] = str(error)
        rows.append(row)
    if not long:
        raise UserError(
            f"none of {len(rows)} shots takes from {config.least_seconds:g} to {config.most_seconds:g} s",
            where=str(video),
            remedy="change --least-seconds or --most-seconds",
        )
    return {"video": video.name, "shots": rows}


def digest_of(task: Task) -> str:
    """What a video and the settings are told by: size and time of the file, and every number."""
    about = task.video.stat()
    said = [str(task.video.resolve()), about.st_size, about.st_mtime_ns, repr(task.config)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _shots(video: Path, config: BuildConfig) -> list[Shot]:
    if config.shots is None:
        return find_shots(video, config.detector)
    about = describe_video(video)
    fps = about.fps or FPS
    count = round((about.duration_s or 0) * fps) or 10**9
    return read_shots(config.shots / f"{video.stem}.txt", count, fps)


class _Pictures(NamedTuple):
    """Of a shot."""

    count: int
    """Frames at 25 a second."""
    keyframes: tuple[int, ...]
    """Which of them are here."""
    pictures: tuple[Picture, ...]
    size: tuple[int, int]
    """Width and height of the video."""


def _pictures_of(
    video: Path, shots: Sequence[Shot], config: BuildConfig
) -> Iterator[tuple[int, Shot, _Pictures]]:
    """The keyframes of each shot, small; those of one shot are in memory at a time."""
    coming = frames_every(video, 1 / FPS)
    waiting: Frame | None = next(coming)
    first = waiting.time_s if waiting is not None else 0.0
    for number, shot in enumerate(shots):
        end = shot.end_s - shots[0].start_s + first - 1e-6
        long = shot.end_s - shot.start_s > config.most_seconds
        stride = max(1, int(np.ceil((shot.end_s - shot.start_s) * FPS / config.reconstruction.keyframes)))
        kept: dict[int, Picture] = {}
        count, last, size = 0, None, (0, 0)
        while waiting is not None and waiting.time_s < end:
            if not long:
                size = waiting.pixels.shape[1::-1]
                last = waiting.pixels
                if count % stride == 0:
                    kept[count] = shrink(last, config.reconstruction.side)
            count += 1
            waiting = next(coming, None)
        if last is not None and count - 1 not in kept:
            kept[count - 1] = shrink(last, config.reconstruction.side)
        yield number, shot, _Pictures(count, tuple(kept), tuple(kept.values()), size)


class _Tracks(NamedTuple):
    """What a shot is made of, from `start` on."""

    start: int
    world_from_camera: ndarray
    character: ndarray
    how: dict[str, Any]
    people: tuple[Pose | None, ...] = ()


def _build_shot(
    video: Path,
    number: int,
    pictures: _Pictures,
    root: Path,
    config: BuildConfig,
    chat: CachedChat | None,
) -> dict[str, Any]:
    tracks = _imported(video, number, pictures, config) or _reconstructed(pictures, config)
    window = Window(0, tracks.world_from_camera, tracks.character)
    chunks = find_chunks([window], config.cleaning)
    if not chunks:
        raise UserError("camera or character jump so often that no part is long enough")
    samples = []
    for index, chunk in enumerate(chunks):
        sample = _sample(f"{plain_stem(video)}_{number:05d}_{index:05d}", chunk, config, number, chat)
        write_sample(root, sample)
        picture = sample_picture(sample, _strip(chunk, tracks, pictures))
        write_bytes(root / "pictures" / f"{sample.name}.png", png_bytes(picture))
        samples.append(
            {
                "name": sample.name,
                "start": tracks.start + chunk.start,
                "frames": len(chunk.character),
                "caption": sample.caption,
            }
        )
    return {**tracks.how, "samples": samples}


def _imported(video: Path, number: int, pictures: _Pictures, config: BuildConfig) -> _Tracks | None:
    """Camera and character as other software found them; None where no poses are given."""
    if config.poses is None:
        return None
    path = at_rate(open_path(_named(config.poses, video, number), config.read), FPS)
    poses, how = path.world_from_camera, {"camera": "given"}
    if config.characters is not None:
        character = read_character(_named(config.characters, video, number), unit=config.read.unit)
        how["character"] = "given"
        people: tuple[Pose | None, ...] = ()
    else:
        people = _people(pictures, config)
        lens = path.lens[0] if path.lens is not None else _usual_lens(pictures)
        hips = lift_hips(people, lens, pictures.pictures[0].shape[1::-1])
        character = _beside(poses, _between(hips, pictures.keyframes, len(poses)))
        how["character"] = "lifted from its joints"
    n = min(len(poses), len(character))
    return _Tracks(0, poses[:n], character[:n], how, people)


def _reconstructed(pictures: _Pictures, config: BuildConfig) -> _Tracks:
    people = _people(pictures, config)
    height, width = pictures.pictures[0].shape[:2]
    size = width, height
    boxes = [None if person is None else _box(person, size) for person in people]
    found = reconstruct(pictures.pictures, config.reconstruction, without=boxes)
    hips = lift_hips(people, found.lens, size)
    start, poses = _every_frame(found, pictures.keyframes)
    how = {"camera": found.kind, "character": "lifted from its joints"}
    placed = slice(found.start, found.start + len(found.world_from_camera))
    if found.kind == "moving":
        scale = find_scale(
            hips[placed], people[placed], found.world_from_camera, found.points, found.lens, size
        )
        poses[:, :3, 3] *= scale.metres
        how["scale"] = scale.how
    character = _between(hips, pictures.keyframes, pictures.count)[start : start + len(poses)]
    return _Tracks(start, poses, _beside(poses, character), how, people)


def _every_frame(found: Reconstruction, keyframes: Sequence[int]) -> tuple[int, ndarray]:
    """Poses of all frames from the first keyframe that has one to the last."""
    times = np.array(keyframes[found.start : found.start + len(found.world_from_camera)], np.float64)
    at = np.arange(times[0], times[-1] + 1)
    return int(times[0]), interpolate(found.world_from_camera, times, at)


def _people(pictures: _Pictures, config: BuildConfig) -> tuple[Pose | None, ...]:
    """The person in each keyframe."""
    if config.pose_weights is None:
        raise UserError(
            "nothing says where the character is",
            remedy="give --pose-weights with mediapipe's wheel, or --poses and --characters",
        )
    find = open_blazepose(config.pose_weights)
    people = tuple(next(iter(find(picture)), None) for picture in pictures.pictures)
    if not any(people):
        raise UserError("no person is seen in it")
    return people


def _box(person: Pose, size: tuple[int, int]) -> Box:
    """The part of the picture that somebody takes, with room for what has no joints."""
    joints = person.points[person.points[:, 2] > 0, :2]
    low, high = joints.min(0) / size, joints.max(0) / size
    room = ROOM * (high - low)
    left, top = (low - room).tolist()
    right, bottom = (high + room).tolist()
    return left, top, right, bottom


def _between(hips: ndarray, keyframes: Sequence[int], count: int) -> ndarray:
    """Places at every frame, from those at keyframes; NaN where they are not known."""
    filled, known = fill_gaps(hips, longest=max(1, int(FPS * len(keyframes) / max(count, 1))))
    frames, places = np.array(keyframes), np.full((count, 3), np.nan)
    for left in range(len(frames) - 1):
        if known[left] and known[left + 1]:
            between = np.arange(frames[left], frames[left + 1] + 1)
            share = ((between - frames[left]) / (frames[left + 1] - frames[left]))[:, None]
            places[between] = (1 - share) * filled[left] + share * filled[left + 1]
    return places


def _beside(poses: ndarray, seen: ndarray) -> ndarray:
    """Places in the axes of each camera, in the world."""
    n = min(len(poses), len(seen))
    return np.einsum("nij,nj->ni", poses[:n, :3, :3], seen[:n]) + poses[:n, :3, 3]


def _usual_lens(pictures: _Pictures) -> ndarray:
    width, height = pictures.size
    focal = (width + height) / 2
    return np.array([focal / width, focal / height, 0.5, 0.5])


def _named(folder: Path, video: Path, number: int) -> Path:
    found = sorted(folder.glob(f"{video.stem}_{number:05d}.*")) or sorted(
        one for one in folder.glob(f"{video.stem}_{number:05d}") if one.is_dir()
    )
    if not found:
        raise UserError("nothing is given for this shot", where=str(folder / f"{video.stem}_{number:05d}"))
    return found[0]


def _sample(name: str, chunk: Chunk, config: BuildConfig, number: int, chat: CachedChat | None) -> Sample:
    camera, character = tag_camera(chunk.world_from_camera), tag_character(chunk.character)
    runs = find_segments(camera), find_segments(character)
    rng = np.random.default_rng([config.seed, number, chunk.start])
    said = (
        [write_caption(*runs, rng=rng), write_caption(runs[0], rng=rng)]
        if chat is None
        else [ask_caption(chat, *runs), ask_caption(chat, runs[0])]
    )
    return Sample(
        name=name,
        path=path_of(chunk.world_from_camera),
        character=chunk.character,
        camera_labels=camera,
        character_labels=character,
        caption=said[0],
        camera_caption=said[1],
        origin=chunk.origin,
    )


def _strip(chunk: Chunk, tracks: _Tracks, pictures: _Pictures) -> list[Picture]:
    """Some pictures of a sample, with the joints that were found."""
    first = tracks.start + chunk.start
    own = [i for i, frame in enumerate(pictures.keyframes) if first <= frame < first + len(chunk.character)]
    chosen = np.unique(np.linspace(0, len(own) - 1, STRIP).round().astype(int)) if own else []
    strip = []
    for index in (own[place] for place in chosen):
        picture = pictures.pictures[index].copy()
        person = tracks.people[index] if index < len(tracks.people) else None
        if person is not None:
            drawn = draw_poses([person], *picture.shape[:2])
            picture[drawn.any(-1)] = drawn[drawn.any(-1)]
        strip.append(shrink(picture, 320))
    return strip


def plain_stem(video: Path) -> str:
    """The video's name as samples have it."""
    return "".join(letter if letter.isalnum() else "-" for letter in video.stem).strip("-") or "video"
