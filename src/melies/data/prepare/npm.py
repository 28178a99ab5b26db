"""Fetching a package with the ordinary npm client, and reading its tarball without extracting it."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from melies.errors import UserError

MAX_MEMBERS = 200_000
MAX_MEMBER_BYTES = 64 << 20
MAX_READ_BYTES = 1 << 30
_TIMEOUT_S = 1800


class Package(NamedTuple):
    """One published package, pinned to its content."""

    name: str
    version: str
    sha512: str
    """Of the tarball, base64, as the registry's `integrity` field writes it."""

    @property
    def tarball(self) -> str:
        """The file name that `npm pack` gives it."""
        return f"{self.name}-{self.version}.tgz"


def fetch(package: Package, folder: Path) -> Path:
    """Download a package's tarball into `folder` through `npm pack`; its scripts are not run.

    Raises:
        UserError: If npm is missing or fails, or the content is not the pinned one.
    """
    npm = shutil.which("npm")
    other = f"or put {package.tarball} into a folder and give --from FOLDER"
    if npm is None:
        raise UserError(
            f"npm is needed to fetch {package.name} and is not installed", remedy=f"install it, {other}"
        )
    command = [
        npm,
        "pack",
        f"{package.name}@{package.version}",
        "--pack-destination",
        str(folder),
        "--ignore-scripts",
    ]
    try:
        # Run in `folder`, so that an .npmrc or a package.json of the user's project has no say.
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"npm took more than {_TIMEOUT_S // 60} minutes for {package.name}", remedy=other
        ) from None
    except OSError as error:
        raise UserError(f"npm cannot be run ({error.strerror})", where=npm, remedy=other) from None
    path = folder / package.tarball
    if done.returncode or not path.is_file():
        said = [line for line in done.stderr.splitlines() if "error" in line.lower() or "ERR" in line]
        reason = said[0].strip() if said else f"exit code {done.returncode}"
        raise UserError(
            f"npm could not fetch {package.name}@{package.version} ({reason})",
            remedy=f"check the network, {other}",
        )
    check(path, package)
    return path


def check(path: Path, package: Package) -> None:
    """Refuse a tarball whose content is not the pinned one."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    if base64.b64encode(digest).decode() != package.sha512:
        raise UserError(
            f"is not {package.name} {package.version} as published (its SHA-512 differs)",
            where=str(path),
            remedy="download it again",
        )


def read_members(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The plain files of a tarball that are wanted, by name; nothing is written to disk.

    Raises:
        UserError: If the tarball is damaged, or holds more than can be meant well.
    """
    found: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(path, "r:gz") as archive:
            for number, member in enumerate(archive):
                if number >= MAX_MEMBERS:
                    raise UserError(f"holds more than {MAX_MEMBERS:,} files", where=str(path))
                if not member.isreg() or not wanted(member.name):
                    continue
                total += member.size
                if member.size > MAX_MEMBER_BYTES or total > MAX_READ_BYTES:
                    raise UserError(f"{member.name} is {member.size:,} bytes: too large", where=str(path))
                file = archive.extractfile(member)
                found[member.name] = file.read() if file else b""
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UserError(f"cannot be read ({error})", where=str(path), remedy="download it again") from None
    return found
