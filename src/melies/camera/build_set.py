"""Many videos into one set: each by itself, whatever becomes of others; lists of splits; a report."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from melies.batch import BatchConfig, Outcome, Piece, run_batch
from melies.camera.build import BuildConfig, Task, build_video, digest_of, plain_stem
from melies.camera.build_report import write_report
from melies.camera.dataset import HELD_OUT, SetStatistics, count_set, is_pure
from melies.camera.et import read_sample, write_splits
from melies.camera.tag import find_segments
from melies.data.splits import split_by_hash
from melies.errors import UserError
from melies.progress import Progress, silent


class Built(NamedTuple):
    """What became of videos."""

    outcomes: tuple[Outcome, ...]
    statistics: SetStatistics | None
    """None where there is no sample."""
    report: Path


def build_set(
    videos: Sequence[Path],
    root: Path,
    config: BuildConfig,
    batch: BatchConfig | None = None,
    *,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda line: None,
) -> Built:
    """Build the samples of every video, the lists of splits, and `report.html`.

    A folder that was begun goes on: videos that are done and unchanged are not looked at again.

    Args:
        videos: Files; a folder stands for those in it.
        root: Where the set goes.
        config: What becomes of a video.
        batch: How many at once, and by what.
        progress: Shows how far it is.
        say: Told of each video that is left out.

    Raises:
        UserError: If there is no video, or two have one name.
    """
    files = [one for video in videos for one in _files(video)]
    if not files:
        raise UserError("there is no video", remedy="melies camera dataset build film.mp4 --out et")
    tasks = [Task(file, root, config) for file in files]
    pieces = [Piece(plain_stem(task.video), digest_of(task), task) for task in tasks]
    outcomes = run_batch(
        pieces, build_video, root / "videos", batch, what="building", progress=progress, say=say
    )
    names = {
        outcome.name: [one["name"] for shot in outcome.result["shots"] for one in shot.get("samples", ())]
        for outcome in outcomes
        if outcome.state == "done"
    }
    _write_lists(root, names)
    statistics = count_set(root) if any(names.values()) else None
    why = Counter(
        shot["left out"] if "s long" not in shot["left out"] else "too short or too long"
        for outcome in outcomes
        if outcome.state == "done"
        for shot in outcome.result["shots"]
        if "left out" in shot
    )
    rows = [("videos", f"{len(outcomes)}"), ("shots left out", f"{sum(why.values())}")]
    if statistics is not None:
        rows += [
            ("samples", f"{statistics.samples}"),
            ("frames", f"{statistics.frames:,}"),
            ("hours", f"{statistics.hours:.3f}"),
            ("words in captions", f"{statistics.vocabulary}"),
        ]
    rows += [(f"left out: {reason}", f"{count}") for reason, count in why.most_common()]
    return Built(tuple(outcomes), statistics, write_report(root, outcomes, rows))


def _files(video: Path) -> list[Path]:
    if not video.exists():
        raise UserError("there is no such file", where=str(video))
    if video.is_dir():
        return sorted(one for one in video.iterdir() if one.is_file() and not one.name.startswith("."))
    return [video]


def _write_lists(root: Path, names: dict[str, list[str]]) -> None:
    """Splits by video, so that no shot of a film that is tested on was trained on; of one film by sample."""
    alone = len(names) == 1
    splits: dict[str, list[str]] = {
        f"{kind}_{part}": [] for kind in ("full", "mixed") for part in ("train", "test")
    }
    for video, samples in names.items():
        for name in samples:
            held_out = bool(split_by_hash([name if alone else video], modulus=HELD_OUT, remainder=0)[0])
            part = "test" if held_out else "train"
            pure = is_pure(find_segments(read_sample(root, name).camera_labels))
            for kind in ("full", "mixed", *(("pure",) if pure else ())):
                splits.setdefault(f"{kind}_{part}", []).append(name)
            splits.setdefault("clatr_test" if held_out else "clatr_train", []).append(name)
    write_splits(root, splits)
