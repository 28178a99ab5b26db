"""Sets of other papers, counted as E.T. counts them: HumanML3D, KIT-ML, CCD.

HumanML3D (Guo et al. 2022) and KIT-ML (Plappert et al. 2016, as they lay it out): `texts/NAME.txt`, a
line for each caption as `caption#words with tags#from#to`, and `new_joint_vecs/NAME.npy` (frames, 263)
at 20 frames a second, or (frames, 251) at 12.5; names that begin with M are mirror images and count for
nothing. CCD (Jiang et al. 2024): camera paths `cam` (n, frames, 5) and texts `info`. It is published as
a pickle, which is never opened here; where it is trusted, `numpy.savez` makes what is read of it.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from melies.camera.dataset import SetStatistics, count_set
from melies.camera.formats.arrays import header_of, members
from melies.camera.tag import FPS
from melies.errors import UserError
from melies.files import read_text

WIDTHS: Mapping[int, float] = {263: 20.0, 251: 12.5}
"""Numbers of a frame → frames a second: HumanML3D, KIT-ML."""
CONVERT = (
    "python -c \"import numpy as n; d = n.load('FILE.npy', allow_pickle=True)[()];"
    " n.savez('FILE.npz', cam=n.stack(d['cam']), info=n.array(d['info'], dtype=str))\""
)


class _One(NamedTuple):
    """A sample of a set."""

    frames: int
    fps: float
    captions: tuple[str, ...]


def count_any(root: Path, split: str | None = None) -> SetStatistics:
    """What is in a set, whatever its layout.

    Args:
        root: A folder in the layout of E.T., HumanML3D or KIT-ML, or CCD's file as `.npz`.
        split: A list of it, such as `pure_test` or `train`.

    Raises:
        UserError: If it is none of them, or a file in it is damaged.
    """
    if (root / "traj").is_dir():
        return count_set(root, split)
    if (root / "texts").is_dir():
        return _counted(_motions(root, split))
    if root.suffix == ".npz":
        if split is not None:
            raise UserError("this set has no splits", where=str(root))
        return _counted(_cameras(root))
    if root.suffix == ".npy":
        raise UserError("a pickle is never opened", where=str(root), remedy=f"where you trust it: {CONVERT}")
    raise UserError(
        "no set that is known",
        where=str(root),
        remedy="give a folder with traj (E.T.) or texts (HumanML3D, KIT-ML), or CCD's .npz",
    )


def _motions(root: Path, split: str | None) -> Iterator[_One]:
    if split is None:
        names = sorted(file.stem for file in (root / "texts").glob("*.txt"))
    else:
        file = root / f"{split}.txt"
        if not file.is_file():
            raise UserError(f"there is no split {split!r}", where=str(root))
        names = read_text(file).split()
    for name in names:
        if name.startswith("M"):
            continue
        file = root / "new_joint_vecs" / f"{name}.npy"
        if not file.is_file():
            continue  # sets are handed on with some motions missing
        shape = header_of(file)
        if len(shape) != 2 or shape[1] not in WIDTHS:
            raise UserError(
                f"motions of shape {shape}; (frames, 263) or (frames, 251) are known", where=str(file)
            )
        lines = read_text(root / "texts" / f"{name}.txt").splitlines()
        captions = tuple(line.partition("#")[0].strip() for line in lines if line.strip())
        yield _One(shape[0], WIDTHS[shape[1]], captions)


def _cameras(file: Path) -> Iterator[_One]:
    cameras = members(file, ("cam",))["cam"]
    texts = members(file, ("info",), kinds="U")["info"]
    if cameras.ndim != 3 or len(cameras) != texts.shape[0]:
        raise UserError(f"cameras of shape {cameras.shape} for {texts.shape} texts", where=str(file))
    for camera, said in zip(cameras, texts.reshape(len(texts), -1), strict=True):
        yield _One(int(np.isfinite(camera).all(1).sum()), FPS, tuple(str(one) for one in said))


def _counted(samples: Iterator[_One]) -> SetStatistics:
    count = frames = captions = 0
    seconds, words = 0.0, set[str]()
    for one in samples:
        count += 1
        frames += one.frames
        seconds += one.frames / one.fps
        captions += len(one.captions)
        for caption in one.captions:
            words |= set(re.findall(r"[\w'-]+", caption.lower()))
    return SetStatistics(
        samples=count,
        frames=frames,
        hours=seconds / 3600,
        captions=captions,
        vocabulary=len(words),
        motions={},
    )
