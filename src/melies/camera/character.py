"""A character as a point that moves: where its hips are, from presets or from a file."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from melies.errors import UserError, choose
from melies.files import read_text

Track = Float64[ndarray, "n 3"]
"""Metres, axes x right, y down, z forward of the world."""

WALK = 1.2
"""m/s."""
CENTIMETRE = 0.01
MAX_FRAMES = 1_000_000


def _walk(direction: tuple[float, float, float]) -> Callable[[ndarray], ndarray]:
    return lambda t: np.outer(WALK * t, direction)


def _then_stop(t: ndarray) -> ndarray:
    """Half of the time to the right, then still."""
    return np.outer(WALK * np.minimum(t, t[-1] / 2), (1.0, 0.0, 0.0))


def _circle(t: ndarray) -> ndarray:
    """Once round a circle that the walking speed fills."""
    around = 2 * np.pi * t / max(t[-1], 1e-9)
    radius = WALK * t[-1] / (2 * np.pi)
    return radius * np.stack([np.sin(around), np.zeros_like(t), 1 - np.cos(around)], axis=1)


def _stairs(t: ndarray) -> ndarray:
    """Up steps of 17 cm by 28 cm, two a second."""
    steps = 2 * t
    rise = np.floor(steps) + np.clip(2 * (steps % 1) - 1, 0, 1)
    return np.stack([0.28 * steps, -0.17 * rise, np.zeros_like(t)], axis=1)


PRESETS: Mapping[str, Callable[[ndarray], ndarray]] = {
    "still": lambda t: np.zeros((len(t), 3)),
    "walk-right": _walk((1.0, 0.0, 0.0)),
    "walk-left": _walk((-1.0, 0.0, 0.0)),
    "walk-forward": _walk((0.0, 0.0, 1.0)),
    "walk-backward": _walk((0.0, 0.0, -1.0)),
    "walk-then-stop": _then_stop,
    "circle": _circle,
    "stairs": _stairs,
}
"""Name → `(seconds (n,)) → positions (n, 3)`, from the origin on."""


def preset_character(name: str, frames: int, fps: float = 25.0) -> Track:
    """The track of a preset.

    Raises:
        UserError: If there is none of that name; the nearest is named.
    """
    return choose(name, PRESETS, "character")(np.arange(frames) / fps)


def find_character(name: str, frames: int, *, fps: float = 25.0, unit: float | None = None) -> Track:
    """The track of a preset, of `frames` frames, or that in a file, cut to them.

    Args:
        name: A name in `PRESETS`, or a file that `read_character` reads.
        frames: Most frames.
        fps: Frames a second.
        unit: Metres of one unit of the file.

    Raises:
        UserError: If there is no such preset or file.
    """
    if name in PRESETS or not Path(name).suffix:
        return preset_character(name, frames, fps)
    return read_character(Path(name), fps=fps, unit=unit)[:frames]


def read_character(path: Path, *, fps: float = 25.0, unit: float | None = None) -> Track:
    """The track in a file, from its own first place on where the file has a world of its own.

    `.npy` (n, 3), as of E.T.'s `char/`, and `.csv` with x, y, z in a row have a frame a row, in our axes; a
    first row of the CSV that is no numbers is a header, and one with x, y and z says which columns. Of `.npz`
    it is `trans`, where SLAHMR and SMPL's files have the root of the first person, as it is. Of `.bvh`
    it is the way of the root, of `.gltf` and `.glb` that of the first node that moves, or of the one that is
    named behind a `#`; both are brought to our axes, and to `fps` frames a second.

    Args:
        path: The file.
        fps: Frames a second of the track.
        unit: Metres of one of its units; 1, and of a BVH a centimetre, if not given.

    Raises:
        UserError: If the file cannot be read, a row is not three finite numbers, or there is none.
    """
    file, _, node = str(path).partition("#")
    suffix = Path(file).suffix.lower()
    if suffix == ".npy":
        return _checked((unit or 1.0) * _numeric(_read_npy(Path(file)), path), path)
    if suffix == ".npz":
        from melies.camera.formats.arrays import members

        found = members(Path(file), ("trans",))["trans"]
        return _checked((unit or 1.0) * (found[0] if found.ndim == 3 and len(found) else found), path)
    if suffix in (".csv", ".txt"):
        return _checked((unit or 1.0) * _read_csv(Path(file)), path)
    if suffix == ".bvh":
        from melies.camera.bvh import read_root

        times, places = read_root(Path(file))
        return _checked(_resampled(times, (unit or CENTIMETRE) * places, fps), path)
    if suffix in (".gltf", ".glb"):
        from melies.camera.formats.gltf import moving_node, node_path, open_document

        document = open_document(Path(file))
        times, poses = node_path(document, moving_node(document, node, where=file), where=file)
        return _checked(_resampled(times, (unit or 1.0) * poses[:, :3, 3], fps), path)
    raise UserError(
        f"{suffix or 'no suffix'} is not a form of character that is known",
        where=str(path),
        remedy=f"give .npy, .npz, .csv, .bvh, .gltf or .glb, or a preset: {', '.join(PRESETS)}",
    )


def _resampled(times: ndarray, places: ndarray, fps: float) -> ndarray:
    """Places of a world with y up and z backward in ours, from the first on, at an even rate."""
    count = int(np.floor((times[-1] - times[0]) * fps + 1e-6)) + 1
    if count > MAX_FRAMES:
        raise UserError(f"more than {MAX_FRAMES:,} frames")
    at = times[0] + np.arange(count) / fps
    track = np.stack([np.interp(at, times, column) for column in places.T], axis=1)
    return (track - track[0]) * [1.0, -1.0, -1.0]


def _read_npy(path: Path) -> ndarray:
    try:
        with path.open("rb") as source:
            return np.load(source, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"cannot read it: {error}", where=str(path)) from None


def _read_csv(path: Path) -> ndarray:
    rows, columns = [], (0, 1, 2)
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        cells = [cell.strip() for cell in line.replace(";", ",").replace("\t", ",").split(",")]
        if not any(cells) or line.lstrip().startswith("#"):
            continue
        names = [cell.lower() for cell in cells]
        if not rows and all(axis in names for axis in "xyz"):
            columns = tuple(names.index(axis) for axis in "xyz")
            continue
        try:
            rows.append([float(cells[column]) for column in columns])
        except (ValueError, IndexError):
            raise UserError(
                f"line {number} is not a position: {line[:60]!r}",
                where=str(path),
                remedy="give x, y and z in metres, one frame a line",
            ) from None
        if len(rows) > MAX_FRAMES:
            raise UserError(f"more than {MAX_FRAMES:,} frames", where=str(path))
    return np.array(rows, np.float64).reshape(-1, 3)


def _numeric(track: ndarray, path: Path) -> ndarray:
    if track.dtype.kind not in "fiu":
        raise UserError(f"{track.dtype} is no kind of number", where=str(path))
    return track


def _checked(track: ndarray, path: Path) -> Track:
    if track.ndim != 2 or track.shape[1] != 3:
        raise UserError(f"numbers of shape {track.shape} are no track (n, 3)", where=str(path))
    if not len(track):
        raise UserError("there is no frame in it", where=str(path))
    if len(track) > MAX_FRAMES:
        raise UserError(f"more than {MAX_FRAMES:,} frames", where=str(path))
    track = track.astype(np.float64)
    bad = ~np.isfinite(track).all(1)
    if bad.any():
        raise UserError(f"frame {int(np.flatnonzero(bad)[0])} is not finite", where=str(path))
    return track
