"""Camera paths in files: what can be read and written, by what name or content, and whose axes they have."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from melies.camera.formats.axes import from_axes, into_axes
from melies.camera.path import CameraPath
from melies.errors import UserError, choose
from melies.files import write_bytes
from melies.optional import import_from

HERE = "melies.camera.formats"
HEAD_BYTES = 65_536
"""Of a file, by which its format is known."""


class Format(NamedTuple):
    """One way to write a path down."""

    suffix: str
    """Of its files; none for a folder."""
    what: str
    """One line for the help."""
    write: str = ""
    """`"module:function"` of `(path) → bytes`, or of a folder's files by name; none if only read."""
    read: str = ""
    """`"module:function"` of `(file, fps) → path`, `fps` for what says no times; none if only written."""
    camera: str = "opencv"
    """Axes of the camera, a name in `axes.AXES`."""
    world: str = "opencv"
    """Axes of the world."""
    unit: float = 1.0
    """Metres of one of its units."""
    carries: frozenset[str] = frozenset()
    """What it says beside poses: `times` or an even `rate`, `lens` or only the `fov` of one, `aspect`."""
    own_axes: bool = False
    """Whether its axes and units are part of it, so that no others can be meant."""


EVERYTHING = frozenset({"times", "lens", "aspect"})

FORMATS: Mapping[str, Format] = {
    "kitti": Format(
        ".txt",
        "twelve numbers a frame, camera to world, as in E.T. and KITTI",
        f"{HERE}.kitti:write",
        f"{HERE}.kitti:read",
    ),
    "tum": Format(
        ".tum",
        "time, position and quaternion a frame",
        f"{HERE}.tum:write",
        f"{HERE}.tum:read",
        carries=frozenset({"times"}),
    ),
    "csv": Format(
        ".csv",
        "a spreadsheet: time, position, quaternion, lens",
        f"{HERE}.spreadsheet:write",
        f"{HERE}.spreadsheet:read",
        carries=EVERYTHING,
    ),
    "euroc": Format(
        ".csv",
        "EuRoC's ground truth: nanoseconds, position and quaternion of the sensor",
        f"{HERE}.euroc:write",
        f"{HERE}.euroc:read",
        camera="imu",
        world="z-up",
        carries=frozenset({"times"}),
    ),
    "realestate10k": Format(
        ".txt",
        "RealEstate10K: microseconds, lens and world to camera",
        f"{HERE}.realestate:write",
        f"{HERE}.realestate:read",
        carries=frozenset({"times", "lens"}),
    ),
    "colmap": Format(
        "",
        "COLMAP's text model, a folder",
        f"{HERE}.colmap:write",
        f"{HERE}.colmap:read",
        carries=frozenset({"lens", "aspect"}),
    ),
    "nerfstudio": Format(
        ".json",
        "transforms.json of nerfstudio and its kin",
        f"{HERE}.nerfstudio:write_transforms",
        f"{HERE}.nerfstudio:read_transforms",
        camera="opengl",
        world="z-up",
        carries=frozenset({"lens", "aspect"}),
    ),
    "nerfstudio-path": Format(
        ".json",
        "camera path of a rendering by nerfstudio",
        f"{HERE}.nerfstudio:write_rendering",
        f"{HERE}.nerfstudio:read_rendering",
        camera="opengl",
        world="z-up",
        carries=frozenset({"rate", "fov", "aspect"}),
    ),
    "motionctrl": Format(
        ".json",
        "MotionCtrl: a list of world to camera",
        f"{HERE}.motionctrl:write",
        f"{HERE}.motionctrl:read",
    ),
    "usd": Format(
        ".usda",
        "Universal Scene Description, as text",
        f"{HERE}.usd:write",
        f"{HERE}.usd:read",
        camera="opengl",
        world="opengl",
        carries=EVERYTHING,
        own_axes=True,
    ),
    "usdc": Format(
        ".usdc",
        "Universal Scene Description, binary",
        f"{HERE}.usd:write_crate",
        f"{HERE}.usd:read",
        camera="opengl",
        world="opengl",
        carries=EVERYTHING,
        own_axes=True,
    ),
    "gltf": Format(
        ".gltf",
        "glTF 2.0, an animated camera node",
        f"{HERE}.gltf:write",
        f"{HERE}.gltf:read",
        camera="opengl",
        world="opengl",
        carries=frozenset({"times", "fov", "aspect"}),
        own_axes=True,
    ),
    "rerun": Format(
        ".rrd",
        "a recording for the viewer rerun",
        f"{HERE}.rrd:write",
        f"{HERE}.rrd:read",
        carries=EVERYTHING,
        own_axes=True,
    ),
    "numpy": Format(
        ".npy",
        "an array of numpy: matrices (n, 4, 4), camera to world; (n, 7) of DROID-SLAM is read too",
        f"{HERE}.arrays:write",
        f"{HERE}.arrays:read",
    ),
    "slahmr": Format(
        ".npz",
        "what SLAHMR saves of a world (only read)",
        read=f"{HERE}.arrays:read_slahmr",
        carries=frozenset({"lens"}),
    ),
    "blender": Format(
        ".py",
        "a script that builds the animated camera in Blender (only written)",
        f"{HERE}.blender:write",
        camera="opengl",
        world="z-up",
        own_axes=True,
    ),
    "unreal": Format(
        ".py",
        "a script that builds a level sequence in Unreal (only written)",
        f"{HERE}.unreal:write",
        camera="unreal",
        world="unreal",
        unit=0.01,
        own_axes=True,
    ),
}
"""By the names that `--format` takes."""

ALIKE = {".usd": "usdc", ".glb": "gltf"}
"""Further suffixes that are read."""


def write_path(path: CameraPath, stem: Path, name: str) -> Path:
    """Write a path as `stem` with the format's suffix; whole or not at all.

    Raises:
        UserError: If no format has the name.
    """
    kind = choose(name, FORMATS, "format")
    return write_as(path, stem.with_name(stem.name + kind.suffix), kind)


def write_as(path: CameraPath, file: Path, kind: Format) -> Path:
    """Write a path in OpenCV's axes and metres as a file, or folder, of a format.

    Raises:
        UserError: If the format is only read.
    """
    if not kind.write:
        writable = ", ".join(name for name, one in FORMATS.items() if one.write)
        raise UserError("this format is only read", where=str(file), remedy=f"Valid: {writable}")
    poses = into_axes(path.world_from_camera, camera=kind.camera, world=kind.world, unit=kind.unit)
    data = import_from(kind.write)(path.with_poses(poses))
    if isinstance(data, bytes):
        return write_bytes(file, data)
    for name, part in data.items():
        write_bytes(file / name, part)
    return file


def read_path(file: Path, kind: Format, fps: float = 25.0) -> CameraPath:
    """The path in a file, in OpenCV's axes and metres.

    Args:
        file: The file, or folder.
        kind: Its format.
        fps: Frames a second of what says no times.

    Raises:
        UserError: If it cannot be read, or is not a path; the file is named, and the line or field where it
            can be.
    """
    if not kind.read:
        readable = ", ".join(name for name, one in FORMATS.items() if one.read)
        raise UserError("this format is only written", where=str(file), remedy=f"Valid: {readable}")
    try:
        path = import_from(kind.read)(file, fps)
        poses = from_axes(path.world_from_camera, camera=kind.camera, world=kind.world, unit=kind.unit)
        return path.with_poses(poses)
    except UserError as error:
        raise error if error.where else UserError(error.what, where=str(file), remedy=error.remedy) from None


def find_format(file: Path, name: str | None = None) -> Format:
    """The format to read a file as: of a name, or by its suffix and, where that is not enough, its content.

    Raises:
        UserError: If there is none.
    """
    if name is not None:
        return choose(name, FORMATS, "format")
    if file.is_dir() or file.name in ("images.txt", "cameras.txt"):
        return FORMATS["colmap"]
    found = _by_suffix(file)
    return FORMATS[_by_content(file, found) if len(found) > 1 and file.is_file() else found[0]]


def format_for(file: Path, name: str | None = None) -> Format:
    """The format to write a file as: of a name, or the first with its suffix.

    Raises:
        UserError: If there is none.
    """
    return choose(name, FORMATS, "format") if name is not None else FORMATS[_by_suffix(file)[0]]


def _by_suffix(file: Path) -> list[str]:
    suffix = file.suffix.lower()
    if suffix in ALIKE:
        return [ALIKE[suffix]]
    found = [key for key, one in FORMATS.items() if one.suffix == suffix and suffix]
    if not found:
        known = ", ".join(f"{key} ({one.suffix or 'a folder'})" for key, one in FORMATS.items())
        raise UserError(
            f"{suffix or 'no suffix'} is no format that is known", where=str(file), remedy=f"Valid: {known}"
        )
    return found


def _by_content(file: Path, names: list[str]) -> str:
    """Which of several formats with one suffix a file has, by its beginning; the first if none is plain."""
    with file.open("rb") as source:
        head = source.read(HEAD_BYTES).decode("utf-8", errors="replace")
    if file.suffix.lower() == ".json":
        if '"camera_path"' in head:
            return "nerfstudio-path"
        return "motionctrl" if head.lstrip().startswith("[") else "nerfstudio"
    rows = [line for line in head.splitlines() if line.strip() and not line.startswith("#")]
    counts = [len(row.replace(",", " ").split()) for row in rows[:2]]
    if file.suffix.lower() == ".csv":
        return "csv" if rows and any(letter.isalpha() for letter in rows[0].split(",")[0]) else "euroc"
    if 19 in counts:
        return "realestate10k"
    if counts and counts[0] in (8, 17):
        return "euroc" if len(rows[0].split()[0].split(".")[0]) > 15 else "tum"
    return names[0]
