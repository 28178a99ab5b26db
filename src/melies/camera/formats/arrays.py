"""Arrays of numpy: poses as matrices or positions with quaternions, and what SLAHMR saves of a world.

Nothing is unpickled. As `.npy` are written what DROID-SLAM and many scripts save: (n, 4, 4), camera to world;
(n, 3, 4) and (n, 7), position and quaternion x y z w, are read too. SLAHMR's `*_world_results.npz` (Ye et al.
2023) has world to camera as `cam_R` and `cam_t`, and `intrins` in pixels, for each person of the shot alike.
"""

import io
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from melies.camera.formats.rows import LIMIT
from melies.camera.path import CameraPath, at_frame_rate
from melies.errors import UserError
from melies.geometry import Pose, inverse, pose_of, rotation_from_quaternion


def write(path: CameraPath) -> bytes:
    """(n, 4, 4) float64."""
    target = io.BytesIO()
    np.save(target, path.world_from_camera, allow_pickle=False)
    return target.getvalue()


def read(file: Path, fps: float) -> CameraPath:
    """The path in a `.npy`, `fps` frames a second."""
    if file.stat().st_size > LIMIT:
        raise UserError(f"larger than {LIMIT >> 20} MB", where=str(file))
    with file.open("rb") as source:
        return at_frame_rate(_poses(_array(source.read(LIMIT), str(file)), str(file)), fps)


def read_slahmr(file: Path, fps: float) -> CameraPath:
    """The camera in what SLAHMR saves, `fps` frames a second."""
    found = members(file, ("cam_R", "cam_t"), ("intrins",))
    rotation, translation = (_of_first(found[name], dims) for name, dims in (("cam_R", 3), ("cam_t", 2)))
    if rotation.shape[1:] != (3, 3) or translation.shape != (len(rotation), 3):
        raise UserError(
            f"cam_R {rotation.shape} and cam_t {translation.shape} are no cameras (n, 3, 3), (n, 3)",
            where=str(file),
        )
    if not np.isfinite(rotation).all() or not np.isfinite(translation).all():
        raise UserError("a camera that is not finite", where=str(file))
    lens = None
    if (size := found.get("intrins")) is not None and size.reshape(-1)[:4].size == 4:
        fx, fy, cx, cy = size.reshape(-1)[:4].astype(np.float64)
        if min(fx, fy, cx, cy) > 0:  # the middle of the picture is half of its size
            lens = np.tile([fx / (2 * cx), fy / (2 * cy), 0.5, 0.5], (len(rotation), 1))
    return at_frame_rate(inverse(pose_of(rotation, translation)), fps, lens=lens)


def members(
    file: Path, needed: tuple[str, ...], wanted: tuple[str, ...] = (), *, kinds: str = "fiu"
) -> dict[str, ndarray]:
    """Arrays in a `.npz`, by name.

    Args:
        file: The archive.
        needed: Names that must be there.
        wanted: Names that may be.
        kinds: Kinds of numpy that they may have: numbers, or `U` for texts.

    Raises:
        UserError: If it is none, one that is needed is not in it, or one is of another kind or too large.
    """
    found = {}
    try:
        with zipfile.ZipFile(file) as archive:
            there = {one.filename: one for one in archive.infolist()}
            for name in (*needed, *wanted):
                one = there.get(f"{name}.npy")
                if one is None:
                    if name in needed:
                        raise UserError(f"there is no {name} in it", where=str(file))
                    continue
                if one.file_size > LIMIT:
                    raise UserError(f"{name} is larger than {LIMIT >> 20} MB", where=str(file))
                with archive.open(one) as source:
                    found[name] = _array(source.read(), f"{file}: {name}", kinds)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise UserError(f"cannot read it: {error}", where=str(file)) from None
    return found


def header_of(file: Path) -> tuple[int, ...]:
    """The shape of the array in a `.npy`, of which no more is read.

    Raises:
        UserError: If it is none.
    """
    try:
        with file.open("rb") as source:
            return _header(io.BytesIO(source.read(4096)))[0]
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"cannot read it: {error}", where=str(file)) from None


def _header(source: io.BytesIO) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(source)
    known = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, dtype = known.get(version, known[2, 0])(source)
    return shape, dtype


def _array(data: bytes, where: str, kinds: str = "fiu") -> ndarray:
    """An array, of no more numbers than there are bytes for: a header may say anything."""
    source = io.BytesIO(data)
    try:
        shape, dtype = _header(source)
        if int(np.prod(shape, dtype=object)) * dtype.itemsize > len(data):
            raise UserError("its header says more than is there", where=where)
        source.seek(0)
        array = np.lib.format.read_array(source, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"cannot read it: {error}", where=where) from None
    if array.dtype.kind not in kinds:
        raise UserError(f"{array.dtype} is of no kind that is read here", where=where)
    return array


def _poses(array: ndarray, where: str) -> Pose:
    array = array.astype(np.float64)
    if array.ndim == 2 and array.shape[1] == 7:
        if not np.isfinite(array).all() or (np.linalg.norm(array[:, 3:], axis=1) < 1e-6).any():
            raise UserError("a position or quaternion that is not finite, or of length 0", where=where)
        return pose_of(rotation_from_quaternion(array[:, 3:]), array[:, :3])
    if array.ndim == 3 and array.shape[1:] in ((3, 4), (4, 4)) and len(array):
        poses = np.tile(np.eye(4), (len(array), 1, 1))
        poses[:, :3] = array[:, :3]
        return poses
    raise UserError(
        f"an array of shape {array.shape} is no path",
        where=where,
        remedy="give (n, 4, 4), (n, 3, 4) or (n, 7)",
    )


def _of_first(array: ndarray, dims: int) -> Float64[ndarray, "n ..."]:
    """What is saved for each person, of the first."""
    while array.ndim > dims and len(array):
        array = array[0]
    return array.astype(np.float64)
