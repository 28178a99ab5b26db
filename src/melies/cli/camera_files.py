"""`melies camera convert`, `tag` and `view`: camera paths in files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from tyro.conf import Positional, arg

from melies.cli.output import Answer, Output, place, table
from melies.cli.read import bare_arg, read_arguments

Settings = TypeVar("Settings")

TAGGED = (
    "Say what a camera does: which of the 27 translations of E.T., frame by frame and as segments, by the"
    " published tagger; whether it pans, tilts, rolls, zooms, arcs or dolly-zooms; and all of it in a"
    " sentence. Numbers are in metres: a path of another scale needs --unit. It is looked at at 25 frames a"
    " second, which the tagger is for."
)
TAGGED_BY = (
    "melies camera tag shot.txt",
    "melies camera tag shot.usda --character walk-right --out shot.png",
    "melies camera tag slam.tum --unit 2.5 --camera-axes opengl --json",
)

VIEWED = (
    "Write a page to look at a camera path with: in space, to turn and to come nearer; through the camera;"
    " and what it does over time. It needs no server and loads nothing; open it in a browser. For the viewer"
    " of rerun there is `melies camera convert FILE path.rrd`."
)
VIEWED_BY = (
    "melies camera view shot.txt",
    "melies camera view shot.usda --character walk-right --out shot.html",
)
CONVERTED_BY = (
    "melies camera convert shot.txt shot.usda",
    "melies camera convert shot.txt blender-shot.py --fps 24",
    "melies camera convert poses.csv path.json --to-format nerfstudio-path --fov 50",
    "melies camera convert slam.tum shot.gltf --from-camera opengl --from-world z-up --from-unit 0.01",
    "melies camera convert shot.txt model --to-format colmap",
)


@dataclass(frozen=True, kw_only=True)
class Convert(Generic[Settings]):
    """From what, into what."""

    source: Annotated[Positional[Path], arg(metavar="IN")]
    """What is read; its format is known by its suffix and content."""
    target: Annotated[Positional[Path], arg(metavar="OUT")]
    """What is written, by its suffix."""
    settings: Annotated[Settings, arg(name="")]
    overwrite: Annotated[bool, bare_arg()] = False
    """Write over what is there."""
    output: Annotated[Output, arg(name="")] = Output()


@dataclass(frozen=True, kw_only=True)
class Tag(Generic[Settings]):
    """Of what, beside whom."""

    source: Annotated[Positional[Path], arg(metavar="FILE")]
    """A camera path; its format is known by its suffix and content."""
    settings: Annotated[Settings, arg(name="")]
    character: Annotated[str | None, bare_arg(metavar="PRESET|FILE")] = None
    """Who is filmed, for the sentence and the picture: as of `melies camera generate`."""
    character_unit: Annotated[float | None, bare_arg(metavar="METRES")] = None
    """Metres of one unit of the character's file."""
    out: Annotated[Path | None, bare_arg(metavar="PNG")] = None
    """Draw the path from above and from the side into this file."""
    output: Annotated[Output, arg(name="")] = Output()


def tag(argv: Sequence[str]) -> Answer:
    """Read the arguments and say what the path does."""
    from melies.camera.describe import ReadSettings, write_picture
    from melies.camera.labels import camera_name, character_name
    from melies.camera.tag import FPS

    arguments = read_arguments(Tag[ReadSettings], argv, verb="camera tag", about=TAGGED, examples=TAGGED_BY)
    found = _described(arguments)
    if arguments.out is not None:
        write_picture(found, arguments.out)
    runs = [("camera", camera_name(one.label), one) for one in found.segments]
    runs += [("camera", one.name, one) for one in found.motions]
    runs += [("character", character_name(one.label), one) for one in found.character_segments]
    rows = [
        (who, name, f"{run.start}–{run.end}", f"{run.start / FPS:.2f}–{run.end / FPS:.2f}")
        for who, name, run in runs
    ]
    return Answer(
        data={
            "fps": FPS,
            "frames": len(found.path),
            "labels": found.labels.tolist(),
            "segments": [_run(one, camera_name(one.label)) | {"label": one.label} for one in found.segments],
            "motions": [_run(one, one.name) for one in found.motions],
            "character": [
                _run(one, character_name(one.label)) | {"label": one.label}
                for one in found.character_segments
            ],
            "caption": found.caption,
            "outline": found.outline,
            "picture": arguments.out,
        },
        show=[
            table(("who", "what", "frames", "seconds"), rows),
            "",
            found.caption,
            *([f"drawn in {place(arguments.out)}"] if arguments.out else []),
        ],
    )


def _run(run: Any, name: str) -> dict[str, Any]:
    return {"name": name, "start": run.start, "end": run.end}


@dataclass(frozen=True, kw_only=True)
class View(Generic[Settings]):
    """What to look at, and where the page goes."""

    source: Annotated[Positional[Path], arg(metavar="FILE")]
    """A camera path; its format is known by its suffix and content."""
    settings: Annotated[Settings, arg(name="")]
    character: Annotated[str | None, bare_arg(metavar="PRESET|FILE")] = None
    """Who is filmed: as of `melies camera generate`."""
    character_unit: Annotated[float | None, bare_arg(metavar="METRES")] = None
    """Metres of one unit of the character's file."""
    out: Annotated[Path | None, bare_arg(metavar="HTML")] = None
    """The page; beside the path and with its name, if not given."""
    output: Annotated[Output, arg(name="")] = Output()


def view(argv: Sequence[str]) -> Answer:
    """Read the arguments and write the page."""
    from melies.camera.describe import ReadSettings
    from melies.camera.view import write_view

    arguments = read_arguments(View[ReadSettings], argv, verb="camera view", about=VIEWED, examples=VIEWED_BY)
    found = _described(arguments)
    out = arguments.out or arguments.source.with_name(f"{arguments.source.name}.html")
    write_view(found, out, found.caption)
    return Answer(data={"page": out}, show=[f"open {place(out)} in a browser"], asked=False)


def _described(arguments: Any) -> Any:
    """What the path does that the arguments name, beside their character."""
    from melies.camera.character import find_character
    from melies.camera.describe import describe_path, open_path
    from melies.camera.tag import FPS

    path = open_path(arguments.source, arguments.settings)
    character = None
    if arguments.character is not None:
        frames = int((path.times[-1] - path.times[0]) * FPS) + 2
        character = find_character(arguments.character, frames, unit=arguments.character_unit)
    return describe_path(path, character)


def convert(argv: Sequence[str]) -> Answer:
    """Read the arguments and convert."""
    from melies.camera.convert import ConvertSettings, convert_path
    from melies.camera.formats import FORMATS
    from melies.camera.formats.axes import WHAT

    formats = [f"{name} {kind.suffix}: {kind.what}" for name, kind in FORMATS.items()]
    axes = [f"{name}: {what}" for name, what in WHAT.items()]
    about = (
        "Read a camera path in one format and write it in another.\n\nFormats\n\n"
        + "\n\n".join(formats)
        + "\n\nAxes, if they are not those usual in a format\n\n"
        + "\n\n".join(axes)
    )
    arguments = read_arguments(
        Convert[ConvertSettings], argv, verb="camera convert", about=about, examples=CONVERTED_BY
    )
    done = convert_path(arguments.source, arguments.target, arguments.settings, overwrite=arguments.overwrite)
    path = done.path
    seconds = float(path.times[-1] - path.times[0])
    counted = "1 frame" if len(path) == 1 else f"{len(path):,} frames"
    return Answer(
        data={
            "file": done.file,
            "frames": len(path),
            "fps": path.fps,
            "seconds": seconds,
            "notes": list(done.notes),
        },
        show=[
            *(f"note: {note}" for note in done.notes),
            f"{counted}, {seconds:.2f} s at {path.fps:.4g} a second, in {place(done.file)}",
        ],
        asked=False,
    )
