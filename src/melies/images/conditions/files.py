"""Hints of whole folders and videos, as files."""

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from melies.config import check_positive, check_range
from melies.data.archive import open_files
from melies.data.images import picture_names
from melies.data.pixels import open_picture
from melies.errors import UserError, choose
from melies.files import write_bytes
from melies.images.conditions import CONDITIONS, open_extractor
from melies.images.conditions.each import REFERENCE_SIDE
from melies.progress import Progress, silent
from melies.report.figure import grid

VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".gif")
"""Files that are read as videos."""
POSES = ".json"
"""Files of key points, which the kind `pose` draws without a network."""
ON_SHEET = 12
"""Pictures shown on the sheet, spread over all."""
CELL = 192
"""Largest side of a picture on the sheet, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractSettings:
    """What is taken from what."""

    kind: str
    """One of `CONDITIONS`."""
    source: Path
    """A picture, a folder or zip of pictures, a video, or for `pose` a JSON file of OpenPose."""
    weights: Path | None = None
    """What a kind with weights needs."""
    seed: int = 0
    """Which variation, of a kind that varies."""
    every_s: float = 1.0
    """Of a video: seconds between two pictures."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        choose(self.kind, CONDITIONS, "kind of condition")
        check_range("seed", self.seed, low=0, high=2**63 - 1)
        check_positive("every", self.every_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractReport:
    """What was written."""

    hints: tuple[Path, ...]
    """One PNG for each picture, with its name."""
    sheet: Path | None
    """Pictures and their hints side by side; None for key points, of which there is no picture."""
    empty: int
    """Hints that are all black."""
    seconds: float


def extract_files(settings: ExtractSettings, out: Path, *, progress: Progress = silent) -> ExtractReport:
    """Write the hint of every picture into `out`, under the picture's name, and a sheet.

    Only one picture and its hint are in memory, besides the small ones of the sheet. Hints from an earlier
    run are replaced, each whole or not at all.

    Raises:
        UserError: If the source has no pictures or one is damaged, weights are missing, or two pictures have
            one name.
    """
    began = time.perf_counter()
    if not settings.source.exists():
        raise UserError("there is no such file or folder", where=str(settings.source))
    folder = settings.source if settings.source.is_dir() else settings.source.parent
    if out.resolve() == folder.resolve():
        raise UserError(
            "the pictures themselves are here", where=str(out), remedy="give another folder as --out"
        )
    if settings.source.suffix.lower() == POSES:
        return _from_key_points(settings, out, began)
    count, pictures = _pictures(settings)
    function = open_extractor(settings.kind, weights=settings.weights, seed=settings.seed)
    written: dict[Path, str] = {}
    cells: list[Image.Image] = []
    empty, shown = 0, set(np.linspace(0, max(0, count - 1), min(count, ON_SHEET)).astype(int).tolist())
    with progress(f"taking {settings.kind}", total=count, unit="pictures") as track:
        for number, (name, pixels) in enumerate(pictures):
            hint = function(pixels[None])[0]
            path = _target(out, name, written)
            _write(path, hint)
            written[path] = name
            empty += not bool(hint.any())
            if number in shown:
                cells += [_small(pixels), _small(hint)]
            track.advance()
    sheet = out / f"sheet-{settings.kind}.png"
    image = grid(
        cells,
        columns=2 * min(3, len(cells) // 2),
        column_labels=["picture", settings.kind] * min(3, len(cells) // 2),
        background="grey",
    )
    write_bytes(sheet, _png(image))
    return ExtractReport(hints=tuple(written), sheet=sheet, empty=empty, seconds=time.perf_counter() - began)


def _pictures(settings: ExtractSettings) -> tuple[int, Iterator[tuple[str, Tensor]]]:
    """How many there are (of a video, about), and each by name."""
    source = settings.source
    if source.is_file() and source.suffix.lower() in VIDEOS:
        return _of_video(source, settings.every_s)
    if source.is_file() and source.suffix.lower() != ".zip":
        return 1, iter([(source.name, _decode(source.read_bytes(), str(source)))])
    with open_files(source) as files:
        names = picture_names(files)
    if not names:
        raise UserError("has no pictures", where=str(source))

    def each() -> Iterator[tuple[str, Tensor]]:
        with open_files(source) as files:
            for name in names:
                yield name, _decode(files.read(name), files.where(name))

    return len(names), each()


def _of_video(source: Path, every_s: float) -> tuple[int, Iterator[tuple[str, Tensor]]]:
    from melies.video.decode import describe_video, frames_every

    video = describe_video(source)
    count = 1 + int(video.duration_s / every_s) if video.duration_s else ON_SHEET

    def each() -> Iterator[tuple[str, Tensor]]:
        for frame in frames_every(source, every_s):
            pixels = torch.from_numpy(frame.pixels.copy()).permute(2, 0, 1)
            yield f"{source.stem}-{frame.time_s:09.3f}s.png", pixels

    return count, each()


def _decode(data: bytes, where: str) -> Tensor:
    """uint8 (3, h, w), or (4, h, w) where there is transparency; upright."""
    from PIL import ImageOps

    picture = ImageOps.exif_transpose(open_picture(data, where))
    if picture.mode in ("I", "I;16", "F"):
        levels = np.asarray(picture, np.float32)
        span = float(levels.max() - levels.min()) or 1.0
        picture = Image.fromarray(((levels - levels.min()) / span * 255).astype(np.uint8))
    see_through = "A" in picture.getbands() or "transparency" in picture.info
    array = np.asarray(picture.convert("RGBA" if see_through else "RGB"))
    return torch.from_numpy(array.copy()).permute(2, 0, 1)


def _from_key_points(settings: ExtractSettings, out: Path, began: float) -> ExtractReport:
    from melies.video.pose import draw_poses, read_openpose

    if settings.kind != "pose":
        raise UserError("key points are drawn by the kind 'pose' alone", where=str(settings.source))
    poses, size = read_openpose(settings.source)
    canvas = draw_poses(poses, *(size or _around(poses)))
    path = out / f"{settings.source.stem}.png"
    write_bytes(path, _png(Image.fromarray(canvas)))
    return ExtractReport(
        hints=(path,), sheet=None, empty=int(not canvas.any()), seconds=time.perf_counter() - began
    )


def _around(poses: list) -> tuple[int, int]:
    """A size that holds all points, where the file names none."""
    far = max((pose.points[:, :2].max(0) for pose in poses), key=lambda xy: xy.sum(), default=np.zeros(2))
    width, height = (max(REFERENCE_SIDE, min(16_384, int(x) + 16)) for x in far)
    return height, width


def _target(out: Path, name: str, written: dict[Path, str]) -> Path:
    path = out / Path(name).with_suffix(".png")
    if path in written:
        raise UserError(
            f"{written[path]} and {name} would both become {path.name}", remedy="rename one of the pictures"
        )
    return path


def _small(pixels: Tensor) -> Image.Image:
    image = _image(pixels)
    factor = CELL / max(image.size)
    if factor > 1:  # pixels stay pixels
        whole = max(1, int(factor))
        return image.resize((image.width * whole, image.height * whole), Image.Resampling.NEAREST)
    return image.resize([max(1, round(side * factor)) for side in image.size], Image.Resampling.LANCZOS)


def _image(pixels: Tensor) -> Image.Image:
    array = pixels.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)


def _write(path: Path, hint: Tensor) -> None:
    write_bytes(path, _png(_image(hint)))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()
