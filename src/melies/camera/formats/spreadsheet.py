"""A path as a spreadsheet (CSV) has it: a header, then a frame a row.

The columns are `time` (s), `x,y,z`, `qx,qy,qz,qw` (camera to world) and, where a lens is known,
`fx,fy,cx,cy` in shares of the picture and `aspect`; any order, others are left out.
"""

import csv
import io
from pathlib import Path

import numpy as np

from melies.camera.formats.rows import LIMIT, MAX_ROWS, lines_of
from melies.camera.path import CameraPath, at_frame_rate
from melies.errors import UserError
from melies.files import read_text
from melies.geometry import pose_of, quaternion_from_rotation, rotation_from_quaternion

POSE = ("x", "y", "z", "qx", "qy", "qz", "qw")
LENS = ("fx", "fy", "cx", "cy")


def write(path: CameraPath) -> bytes:
    """A header and a row a frame, all digits."""
    names, columns = ["time", *POSE], [path.times[:, None], path.position]
    columns.append(quaternion_from_rotation(path.world_from_camera[:, :3, :3]))
    if path.lens is not None:
        names += LENS
        columns.append(path.lens)
    if path.aspect is not None:
        names.append("aspect")
        columns.append(np.full((len(path), 1), path.aspect))
    return (",".join(names) + "\n" + lines_of(np.concatenate(columns, axis=1), ",")).encode()


def read(file: Path, fps: float) -> CameraPath:
    """The path in a file; without a column of times, `fps` frames a second."""
    reader = csv.reader(io.StringIO(read_text(file, limit=LIMIT)))
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        missing = [name for name in POSE if name not in header]
        if missing:
            raise UserError(f"the header has no {', '.join(missing)}", where=str(file))
        wanted = [name for name in ("time", *POSE, *LENS, "aspect") if name in header]
        at = [header.index(name) for name in wanted]
        rows = []
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            try:
                rows.append([float(cells[column]) for column in at])
            except (ValueError, IndexError):
                raise UserError(
                    f"line {reader.line_num} does not have a number in each of {', '.join(wanted)}",
                    where=str(file),
                ) from None
            if len(rows) > MAX_ROWS:
                raise UserError(f"more than {MAX_ROWS:,} lines", where=str(file))
    except csv.Error as error:
        raise UserError(f"line {reader.line_num}: {error}", where=str(file)) from None
    if not rows:
        raise UserError("there is no pose in it", where=str(file))
    column = dict(zip(wanted, np.array(rows).T, strict=True))
    pose = np.stack([column[name] for name in POSE], axis=1)
    poses = pose_of(rotation_from_quaternion(pose[:, 3:]), pose[:, :3])
    fields = {
        "lens": np.stack([column[name] for name in LENS], axis=1) if set(LENS) <= column.keys() else None,
        "aspect": float(column["aspect"][0]) if "aspect" in column else None,
    }
    if "time" in column:
        return CameraPath(world_from_camera=poses, times=column["time"], **fields)
    return at_frame_rate(poses, fps, **fields)
