"""A training log: one JSON object per line."""

import json
from pathlib import Path
from typing import Any

from melies.files import write_text


class Log:
    """Appends to `log.jsonl`, closed by `with`; a resumed run first drops the lines after its checkpoint."""

    def __init__(self, path: Path, *, samples_seen: int = 0) -> None:
        """Open for appending; lines that claim more than `samples_seen` are dropped."""
        kept = [row for row in read_log(path) if row["samples_seen"] <= samples_seen]
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, **row: Any) -> None:
        """Add one line and hand it to the operating system."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a log; a last line cut short by a crash is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows
