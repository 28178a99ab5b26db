"""What is said of the machine: enough to judge a number by, and nothing that names it or its user."""

import json
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from melies import machine
from melies.machine import command_line, commit, hardware, keep_freed_memory, versions, without_places
from melies.version import __version__


def test_hardware_says_what_matters():
    found = hardware()
    assert set(found) == {"system", "cpu", "cpu_cores", "memory_gib", "accelerators"}
    assert found["cpu_cores"] >= 1
    assert found["cpu"]


def test_neither_the_host_nor_a_place_on_it_is_named():
    said = json.dumps([hardware(), versions()])
    assert not re.search(rf"\b{re.escape(platform.node())}\b", said)
    for folder in (Path.home(), Path.cwd(), Path(machine.__file__).parent):
        assert f"{folder}/" not in said


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_freed_memory_stays_with_the_process(monkeypatch):
    # Left alone, glibc maps each block that is larger than any before and gives it back at once.
    program = (
        "import ctypes, resource, torch; from melies.machine import keep_freed_memory; {ask}\n"
        "ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: all pages are of 4 KiB\n"
        "for mebibytes in range(1, 31): torch.ones(mebibytes << 18)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)"
    )
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    faults = {}
    for ask in ("assert keep_freed_memory()", "pass"):
        done = subprocess.run(
            [sys.executable, "-c", program.format(ask=ask)], capture_output=True, text=True, check=True
        )
        faults[ask] = int(done.stdout)
    mebibytes = (faults["pass"] - faults["assert keep_freed_memory()"]) / 256
    assert mebibytes > sum(range(1, 31)) * 3 / 4


def test_the_users_own_choice_of_memory_stays(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not keep_freed_memory()


def test_versions_of_what_is_installed():
    found = versions(["pillow", "no-such-package"])
    assert found.keys() == {"python", "melies", "pillow"}
    assert (found["python"], found["melies"]) == (platform.python_version(), __version__)


@pytest.fixture
def _places(tmp_path, monkeypatch):
    """A user `jane doe` who works in a folder of her home."""
    here = tmp_path / "jane doe" / "work"
    here.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(here.parent))
    monkeypatch.chdir(here)


@pytest.mark.usefixtures("_places")
@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("{here}/runs/emoji", "runs/emoji"),
        ("{home}/data/a.zip", "~/data/a.zip"),
        ("--out={here}/runs", "--out=runs"),
        ("/srv/films/a.zip", "a.zip"),
        ("from /srv/a/b.zip to /srv/c/d.zip", "from b.zip to d.zip"),
        (r"C:\films\a.zip", "a.zip"),
        ("runs/emoji/checkpoint-1", "runs/emoji/checkpoint-1"),
        ("../shared/data/a.zip", "../shared/data/a.zip"),
        ("~/data/a.zip", "~/data/a.zip"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("1/2 of it, and/or more", "1/2 of it, and/or more"),
    ],
)
def test_places_are_shortened(text, left):
    assert without_places(text.format(here=Path.cwd(), home=Path.home())) == left


@pytest.mark.usefixtures("_places")
def test_a_command_can_be_published_and_typed():
    argv = ["/usr/bin/melies", "generate", "a polar bear", "--out", f"{Path.cwd()}/out", "--scale", "4"]
    assert command_line(argv) == "melies generate 'a polar bear' --out out --scale 4"
    assert command_line(["/x/melies/__main__.py", "doctor"]) == "python -m melies doctor"
    assert command_line([]) == ""


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_of_the_tree_that_runs(tmp_path, monkeypatch):
    package = tmp_path / "src" / "melies"
    package.mkdir(parents=True)
    (package / "a.py").write_text("1")
    monkeypatch.setattr(machine, "_PACKAGE_FOLDER", package)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit() == ""
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert re.fullmatch("[0-9a-f]{40}", head)
    assert commit() == head
    (tmp_path / "untracked").write_text("")
    assert commit() == head
    (package / "a.py").write_text("2")
    assert commit() == f"{head}+changes"

    installed = tmp_path / ".venv" / "lib" / "melies"  # inside somebody's repository, but not of it
    installed.mkdir(parents=True)
    monkeypatch.setattr(machine, "_PACKAGE_FOLDER", installed)
    assert commit() == ""
