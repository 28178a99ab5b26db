"""Much work in small pieces: by local processes or Ray, resumed where it was left, failures recorded.

Each piece has a name, and leaves `NAME.json` in a folder: what came of it, or what went wrong. A piece whose
file says `done` of the same settings is not done again, so that a run that was stopped, in whatever way, goes
on where it was.
"""

import json
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from melies.config import check_range
from melies.errors import UserError
from melies.files import write_text
from melies.optional import require
from melies.progress import Progress, silent

MAX_TRACE = 8_000
"""Characters of a traceback that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchConfig:
    """How many pieces are worked on at once, and by what."""

    workers: int = 1
    """Processes on this machine; 1 works in this one. With Ray: pieces at once, 0 for as many as it likes."""
    ray: bool = False
    """Hand the pieces to Ray, which may have many machines (`ray start`); they must see the same files."""
    retry: bool = False
    """Try again what failed in an earlier run."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("workers", self.workers, low=0 if self.ray else 1, high=1024)


class Piece(NamedTuple):
    """Something to do."""

    name: str
    """Plain: letters, digits, dot, dash and underscore; no two pieces have the same."""
    of: str
    """What it is done to and how: a piece of other settings, or of another file, is done anew."""
    argument: Any
    """What the work is called with; it can be pickled."""


class Outcome(NamedTuple):
    """What became of a piece."""

    name: str
    state: Literal["done", "failed"]
    result: Any
    """What the work returned, as JSON; None where it failed."""
    error: str
    """What went wrong, in a sentence; empty where nothing did."""
    before: bool
    """Whether that was in an earlier run."""


def run_batch(
    pieces: Sequence[Piece],
    work: Callable[[Any], Any],
    folder: Path,
    config: BatchConfig | None = None,
    *,
    what: str = "working",
    progress: Progress = silent,
    say: Callable[[str], None] = lambda line: None,
) -> list[Outcome]:
    """Do every piece once, whatever happens to others, and tell what became of each, in their order.

    Args:
        pieces: What is to do.
        work: `(argument) → anything that is JSON`, a function at the top of a module; it may raise.
        folder: Where the files of the pieces go.
        config: How many at once.
        what: Name of the progress bar.
        progress: Shows how far it is.
        say: Told of each failure.

    Raises:
        UserError: If two pieces have one name, or a name is not plain.
    """
    config = config or BatchConfig()
    _check_names(pieces)
    outcomes: dict[str, Outcome] = {}
    for piece in pieces:
        known = _known(folder, piece)
        if known is not None and not (config.retry and known.state == "failed"):
            outcomes[piece.name] = known
    left = [piece for piece in pieces if piece.name not in outcomes]
    run = _by_ray if config.ray else _here if config.workers == 1 or len(left) < 2 else _by_processes
    with progress(what, total=len(pieces), unit="pieces") as track:
        track.advance(len(outcomes))
        for piece, (result, error, trace) in run(left, work, config):
            outcome = Outcome(piece.name, "failed" if error else "done", result, error, False)
            note = {"state": outcome.state, "of": piece.of, "result": result, "error": error, "trace": trace}
            write_text(folder / f"{piece.name}.json", json.dumps(note, indent=1) + "\n")
            if error:
                say(f"{piece.name}: {error}")
            outcomes[piece.name] = outcome
            track.advance(1)
    return [outcomes[piece.name] for piece in pieces]


def _check_names(pieces: Sequence[Piece]) -> None:
    seen: set[str] = set()
    for piece in pieces:
        plain = piece.name and all(letter.isalnum() or letter in "._-" for letter in piece.name)
        if not plain or piece.name.startswith("."):
            raise UserError(
                f"{piece.name!r} is no plain name", remedy="use letters, digits, dash, underscore"
            )
        if piece.name in seen:
            raise UserError(f"two pieces are called {piece.name}", remedy="give files of different names")
        seen.add(piece.name)


def _known(folder: Path, piece: Piece) -> Outcome | None:
    """What an earlier run left of a piece with the same settings."""
    try:
        note = json.loads((folder / f"{piece.name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if (
        not isinstance(note, dict)
        or note.get("of") != piece.of
        or note.get("state") not in ("done", "failed")
    ):
        return None
    return Outcome(piece.name, note["state"], note.get("result"), str(note.get("error", "")), True)


Done = tuple[Any, str, str]
"""Result, error and traceback of a piece."""


def _attempt(work: Callable[[Any], Any], argument: Any) -> Done:
    """Do a piece; what goes wrong with it is what comes of it."""
    try:
        result = work(argument)
        json.dumps(result)
    except UserError as error:
        return None, str(error), ""
    except Exception as error:  # one piece must not stop the others
        trace = traceback.format_exc()[-MAX_TRACE:]
        return None, f"{type(error).__name__}: {error}", trace
    return result, "", ""


def _here(pieces: Sequence[Piece], work: Callable, config: BatchConfig) -> Iterator[tuple[Piece, Done]]:
    for piece in pieces:
        yield piece, _attempt(work, piece.argument)


def _by_processes(
    pieces: Sequence[Piece], work: Callable, config: BatchConfig
) -> Iterator[tuple[Piece, Done]]:
    """Fresh processes, which share the cores; one that dies fails the pieces that it was given to, no others.

    A pool whose process dies does not tell which piece it was: what is left is tried again one by one,
    and so the one that kills its process is found.
    """
    left, workers = list(pieces), config.workers
    while left:
        broken: set[str] = set()
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _settle, (workers,)) as pool:
            begun = {pool.submit(_attempt, work, piece.argument): piece for piece in left}
            for future in as_completed(begun):
                try:
                    yield begun[future], future.result()
                except BrokenProcessPool:
                    broken.add(begun[future].name)
        left = [piece for piece in left if piece.name in broken]
        if left and workers == 1:  # one process takes them in their order: it was the first
            yield left.pop(0), (None, "the process that worked on it died", "")
        workers = 1


def _settle(count: int) -> None:
    """Give a process its share of the cores: together they would otherwise ask for several times as many."""
    threads = max(1, len(os.sched_getaffinity(0)) // count)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)


def _by_ray(pieces: Sequence[Piece], work: Callable, config: BatchConfig) -> Iterator[tuple[Piece, Done]]:
    """Tasks of Ray, which tries those again whose worker dies."""
    ray = require("ray", extra="scale", why="working with Ray")
    if not ray.is_initialized():
        if os.environ.get("RAY_ADDRESS"):
            ray.init(address="auto", log_to_driver=False)
        else:  # its processes find the modules that this one finds
            modules = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}
            ray.init(log_to_driver=False, logging_level="error", runtime_env=modules)
    task = ray.remote(max_retries=1)(_attempt)
    waiting: dict[Any, Piece] = {}
    queue = list(reversed(pieces))
    most = config.workers or max(int(ray.cluster_resources().get("CPU", 1)), 1)
    while queue or waiting:
        while queue and len(waiting) < most:
            piece = queue.pop()
            waiting[task.remote(work, piece.argument)] = piece
        ready, _ = ray.wait(list(waiting), num_returns=1)
        for reference in ready:
            piece = waiting.pop(reference)
            try:
                yield piece, ray.get(reference)
            except ray.exceptions.RayError as error:
                yield piece, (None, f"the process that worked on it died ({type(error).__name__})", "")
