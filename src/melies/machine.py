"""The machine: what a number was measured on, without naming it, its processes and its memory."""

import ctypes
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from melies.version import __version__

_PACKAGES = ("torch", "numpy", "accelerate", "transformers", "safetensors")
_KEPT_BYTES = 1 << 29
"""Freed memory that a process keeps for itself: enough for the activations of our networks on a CPU."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_FROM_HEAP = 32 << 20  # the most that glibc accepts as M_MMAP_THRESHOLD
_PACKAGE_FOLDER = Path(__file__).resolve().parent
_ABSOLUTE = r"/(?:[^\s/\"'=:,;]+/)+|[A-Za-z]:\\(?:[^\s\\\"'=:,;]+\\)*"


def keep_freed_memory() -> bool:
    """Let this process reuse freed memory instead of giving it back; whether that could be asked for.

    glibc returns every freed tensor of some megabytes to the kernel, which hands it out again page by
    page: a network of convolutions on a CPU spends up to a fifth of its time on that. Elsewhere than
    under glibc, or where the user has set `MALLOC_TRIM_THRESHOLD_`, nothing is changed.

    Source: mallopt(3).
    """
    if platform.system() != "Linux" or "MALLOC_TRIM_THRESHOLD_" in os.environ:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has no mallopt
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES) and mallopt(_M_MMAP_THRESHOLD, _LARGEST_FROM_HEAP))


def is_main_process() -> bool:
    """Whether this process speaks and writes for a run: the only one, or the first that `torchrun` began."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


def hardware() -> dict[str, Any]:
    """Processor, cores that may be used, memory in GiB and accelerators; no host name."""
    import torch

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cpu_cores": _num_cores(),
        "memory_gib": _memory_gib(),
        "accelerators": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Python, melies and those of `packages` that are installed."""
    found = {"python": platform.python_version(), "melies": __version__}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit of the source tree that runs, with "+changes" if it was edited since.

    Empty when melies runs from an installed package: a repository around it is somebody else's.
    """
    top = _git("rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() / "src" / "melies" != _PACKAGE_FOLDER:
        return ""
    found = _git("rev-parse", "HEAD")
    if not found:
        return ""
    edited = _git("status", "--porcelain", "--untracked-files=no", "--", ":/src")
    return f"{found}+changes" if edited else found


def command_line(arguments: Sequence[str]) -> str:
    """The command that `arguments` (as in `sys.argv`) spell, fit for a shell and for publication."""
    import shlex

    program = Path(arguments[0]).name if arguments else ""
    program = "python -m melies" if program == "__main__.py" else program
    return " ".join([program, *(shlex.quote(without_places(entry)) for entry in arguments[1:])]).strip()


def without_places(text: str) -> str:
    """`text` with absolute paths made relative to the working or home folder, or cut to their last part."""
    here, home = (re.escape(f"{folder}{os.sep}") for folder in (Path.cwd(), _home()))
    folders = re.compile(rf"(?<![\w.~:/\\-])(?:{here}|(?P<home>{home})|{_ABSOLUTE})")
    return folders.sub(lambda found: "~/" if found["home"] else "", text)


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a user without one, as in some containers
        return Path.cwd()


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(_PACKAGE_FOLDER), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu_name() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float | None:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None
    return round(size / 2**30, 1)
