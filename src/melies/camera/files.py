"""Draw camera paths as files: for each take a path, its picture, and what was asked for."""

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from numpy import ndarray
from tyro.conf import arg

from melies import checkpoint
from melies.camera.character import find_character
from melies.camera.constraint import Constraint, read_key
from melies.camera.formats import FORMATS, Format, format_for, write_as
from melies.camera.framing import in_view
from melies.camera.generate import Drawn
from melies.camera.labels import camera_name
from melies.camera.model import CameraDiffusion
from melies.camera.path import ASPECT, FOCAL, at_frame_rate
from melies.camera.picture import path_picture
from melies.camera.stitch import draw_long_shots
from melies.camera.tag import find_segments, tag_camera
from melies.config import check_positive, check_range, to_json
from melies.diffusion import METHODS, SCHEDULES
from melies.diffusion.guidance.methods import guidance_of
from melies.errors import UserError, choose
from melies.files import write_bytes, write_text
from melies.progress import Progress, silent
from melies.report.png import png_bytes

MAX_FRAMES = 30_000
"""Twenty minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSettings:
    """How paths are drawn."""

    model: Annotated[str, arg(metavar="MODEL")] = "director"
    """Name or checkpoint of a model of camera paths."""
    character: Annotated[str, arg(metavar="PRESET|FILE")] = "still"
    """Who the camera films."""
    character_unit: Annotated[float | None, arg(metavar="METRES")] = None
    """Metres of one unit of the character's file; 0.01 of BVH and 1 of others, if not given."""
    frames: int = 150
    """Length of the path; a file that is longer is cut, and one that is shorter decides. What is longer than
    the model knows is drawn window by window."""
    count: int = 1
    """Takes of each prompt."""
    scale: float = 1.4
    """Guidance scale: how closely to follow words and character; 1 is off."""
    guidance: Annotated[
        str, arg(metavar="NAME[:PARAMETER]", help=f"The way of guiding: {', '.join(METHODS)}.")
    ] = "plain"
    schedule: Annotated[
        str,
        arg(
            metavar="NAME[:PARAMETER]",
            help=f"How guidance changes over the run, at the same mean: {', '.join(SCHEDULES)}.",
        ),
    ] = "static"
    steps: int = 10
    """Steps of the sampler."""
    seed: int = 0
    """Seed of the first take of every prompt; the next has seed + 1."""
    start: Annotated[str | None, arg(metavar="POSE")] = None
    """Where the camera begins: x,y,z in metres, and if its turn is fixed too ,yaw,pitch[,roll] in degrees."""
    end: Annotated[str | None, arg(metavar="POSE")] = None
    """Where it ends."""
    key: Annotated[tuple[str, ...], arg(metavar="FRAME=POSE…")] = ()
    """Where it is in between."""
    margin: Annotated[float | None, arg(metavar="SHARE")] = None
    """Keep the character in the picture, clear of so much of it on each side: 0 is the very edge."""
    size: Annotated[float | None, arg(metavar="HEIGHTS")] = None
    """How tall the character is at first, in heights of the picture."""
    speed: float = 1.0
    """How fast the camera moves, as multiples of what is drawn."""
    format: Annotated[str | None, arg(metavar="NAME")] = None
    """What the paths are written as, if the name of the file does not say it; kitti in a folder."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("frames", "count", "steps"):
            check_positive(name, getattr(self, name))
        check_range("scale", self.scale, low=0)
        check_range("frames", self.frames, low=1, high=MAX_FRAMES)


class Take(NamedTuple):
    """One path that was drawn."""

    prompt: str
    seed: int
    path: Path
    picture: Path
    tags: str
    """What the tagger sees, in order."""
    off_screen: float
    """Share of the frames in which the character is not in the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathsReport:
    """What a run wrote."""

    takes: tuple[Take, ...]
    seconds: float


def generate_paths(
    prompts: Sequence[str],
    settings: PathSettings,
    out: Path,
    *,
    overwrite: bool = False,
    allow_download: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = print,
) -> PathsReport:
    """Draw every take, and write its path, its picture and its settings.

    Args:
        prompts: What the camera does; takes of each.
        settings: How paths are drawn.
        out: A folder, whose files are named by what was asked for and never overwritten; or with the suffix
            of a format the file itself, numbered from 1 where there are several takes.
        overwrite: Whether that file may be there already.
        allow_download: Whether the text encoder's weights may be fetched.
        progress: Shows the progress of the paths.
        say: Told what is loaded.

    Raises:
        UserError: If there is no prompt, the model or the character is not found, the path would be longer
            than the model knows, or the file is there already.
    """
    if not prompts:
        raise UserError("say what the camera does", remedy='as in "The camera trucks right"')
    kind = FORMATS["kitti"] if settings.format is None else choose(settings.format, FORMATS, "format")
    stems = None
    if out.suffix and not out.is_dir():
        kind = format_for(out, settings.format)
        stems = _stems(out, kind, len(prompts) * settings.count, overwrite=overwrite)
    if not kind.write:
        raise UserError("this format is only read", where=settings.format or str(out))
    model = checkpoint.load(settings.model).model
    if not isinstance(model, CameraDiffusion):
        raise UserError("not a model of camera paths", where=settings.model)
    model.load_text_encoder(allow_download=allow_download, say=say)
    track = find_character(
        settings.character, settings.frames, fps=model.config.fps, unit=settings.character_unit
    )
    began = time.perf_counter()
    every = [prompt for prompt in prompts for _ in range(settings.count)]
    seeds = [settings.seed + take for _ in prompts for take in range(settings.count)]
    shots = draw_long_shots(
        model,
        every,
        [track] * len(every),
        constraints=[_constraint(settings, len(track))] * len(every),
        guidance=guidance_of(settings.guidance, settings.scale, schedule=settings.schedule),
        num_steps=settings.steps,
        seeds=seeds,
        progress=progress,
    )
    takes = []
    for index, (prompt, seed, shot) in enumerate(zip(every, seeds, shots, strict=True)):
        stem = _fresh(out, prompt, seed) if stems is None else stems[index]
        takes.append(_write(stem, kind, settings, model, prompt, seed, shot, track))
    return PathsReport(takes=tuple(takes), seconds=time.perf_counter() - began)


def _constraint(settings: PathSettings, frames: int) -> Constraint:
    keys = {}
    for frame, option, pose in ((0, "--start", settings.start), (-1, "--end", settings.end)):
        if pose is not None:
            keys[frame] = read_key(pose, where=option)
    for text in settings.key:
        frame, separator, pose = text.partition("=")
        if not separator or not frame.isdecimal() or int(frame) >= frames:
            raise UserError(
                f"{text!r} is no key of a path of {frames} frames",
                where="--key",
                remedy=f"give FRAME=x,y,z with a frame from 0 to {frames - 1}, as in {frames // 2}=0,-1,-3",
            )
        keys[int(frame)] = read_key(pose, where=f"--key {frame}")
    return Constraint(keys=keys, margin=settings.margin, size=settings.size, speed=settings.speed)


def _write(
    stem: Path,
    kind: Format,
    settings: PathSettings,
    model: CameraDiffusion,
    prompt: str,
    seed: int,
    shot: Drawn,
    track: ndarray,
) -> Take:
    poses = shot.world_from_camera
    focal = np.full(len(poses), FOCAL) if shot.focal is None else shot.focal
    lens = np.stack([focal / ASPECT, focal, *[np.full(len(poses), 0.5)] * 2], axis=1)
    path = at_frame_rate(poses, model.config.fps, lens=lens, aspect=ASPECT)
    file = write_as(path, stem.with_name(stem.name + kind.suffix), kind)
    picture = stem.with_name(f"{stem.name}.png")
    write_bytes(picture, png_bytes(path_picture(poses, track, title=prompt)))
    np_track = "\n".join(",".join(f"{x:.6f}" for x in row) for row in track)
    write_text(stem.with_name(f"{stem.name}.character.csv"), f"x,y,z\n{np_track}\n")
    told = {"prompt": prompt, "seed": seed, "settings": to_json(settings), "frames": len(poses)}
    write_text(
        stem.with_name(f"{stem.name}.settings.json"), json.dumps(told, indent=2, ensure_ascii=False) + "\n"
    )
    segments = find_segments(tag_camera(poses, model.config.fps)) if len(poses) > 1 else []
    tags = ", ".join(f"{camera_name(one.label)} {one.start}–{one.end}" for one in segments)
    return Take(prompt, seed, file, picture, tags, float(1 - in_view(poses, track, focal=focal).mean()))


def _fresh(out: Path, prompt: str, seed: int) -> Path:
    """A name of what was asked for that no file there begins with."""
    slug = re.sub("[^a-z0-9]+", "-", prompt.lower()).strip("-")[:60] or "path"
    number, name = 1, f"{slug}-{seed}"
    while any(out.glob(f"{name}.*")):
        number += 1
        name = f"{slug}-{seed}-{number}"
    return out / name


def _stems(file: Path, kind: Format, count: int, *, overwrite: bool) -> list[Path]:
    """The names of the takes without their suffix: the file's own, and numbers where there are several."""
    stem = file.with_suffix("")
    stems = [stem] if count == 1 else [stem.with_name(f"{stem.name}-{take + 1}") for take in range(count)]
    for one in stems:
        target = one.with_name(one.name + kind.suffix)
        if target.exists() and not overwrite:
            raise UserError(
                "is there already", where=str(target), remedy="add --overwrite, or give another name"
            )
    return stems
