"""Opening a file of pictures and sound through PyAV, and saying what is wrong with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from melies.errors import UserError
from melies.optional import require


@contextmanager
def opened(path: Path, what: str) -> Iterator[tuple[ModuleType, Any]]:
    """PyAV and the open container of a file that should hold `what`, as in "a video".

    Raises:
        UserError: If it cannot be read.
    """
    av = require("av", extra="video", why=f"reading {what.removeprefix('a ')}")
    av.logging.set_libav_level(av.logging.ERROR)  # FFmpeg's advice on how a file was made helps nobody here
    try:
        container = av.open(str(path), options={"err_detect": "explode"})
    except (av.error.FFmpegError, OSError) as error:
        raise UserError(f"cannot be read as {what} ({reason(error)})", where=str(path)) from None
    with container:
        yield av, container


def start_s(av: ModuleType, container: Any) -> float:
    """When the first of a file's pictures or sounds begins, in seconds of its own clock."""
    return (container.start_time or 0) / av.time_base


def damaged(path: Path, after_s: float, why: str) -> UserError:
    """What is said of a file that can be read so far."""
    return UserError(
        f"damaged after {after_s:.3f} s ({why})", where=str(path), remedy="copy or download it again"
    )


def reason(error: Exception) -> str:
    """What FFmpeg or the system says, as part of a sentence."""
    return str(getattr(error, "strerror", None) or error).strip().rstrip(".").lower()
