"""The claims of a part, judged: as rows for a table, and as a page to show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from melies.errors import UserError, choose
from melies.optional import import_from
from melies.recipes.claims import PARTS
from melies.recipes.claims.claim import Claim, Finding, Part, Records, Verdict, judge
from melies.report.html import table, text, write_page
from melies.report.record import Record, read_record
from melies.report.table import Cells

PUBLISHED = Path(__file__).resolve().parents[4] / "benchmarks" / "quality"
"""Where the records of a source tree lie; an installed package has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One claim with what became of it."""

    part: str
    claim: Claim
    findings: Mapping[str, Finding]
    """By set of data; under the empty name where it is the same for all."""

    def to_json(self) -> dict:
        """As plain data."""
        return {
            "part": self.part,
            "quote": self.claim.quote,
            "test": self.claim.test,
            "command": self.claim.command,
            "findings": {
                name: {"verdict": str(finding.verdict), "evidence": finding.evidence}
                for name, finding in self.findings.items()
            },
        }


def read_part(name: str) -> Part:
    """A part by name.

    Raises:
        UserError: If there is none; the nearest is named.
    """
    return import_from(choose(name, PARTS, "part"))


def read_sets(folder: Path) -> dict[str, Records]:
    """The records in a folder, or in the folders in it, each of which is a set of data.

    A folder with `records/` in it, as `melies ladder` writes it, stands for those.

    Raises:
        UserError: If the folder is not there, or a file in it is no record.
    """
    if not folder.is_dir():
        raise UserError("there is no such folder", where=str(folder), remedy="name what melies ladder wrote")
    folder = folder / "records" if (folder / "records").is_dir() else folder
    if records := _records_in(folder):
        data = next(iter(records.values())).data
        return {str(data.get("set", folder.name)): records}
    return {
        inner.name: records
        for inner in sorted(folder.iterdir())
        if inner.is_dir() and (records := _records_in(inner))
    }


def judge_parts(names: Sequence[str], folders: Sequence[Path] = ()) -> list[Judged]:
    """Every claim of the parts, judged by the records in `folders`, or by those of the source tree.

    Raises:
        UserError: If a part is unknown, or a folder is missing or holds broken records.
    """
    judged = []
    for name in names:
        part = read_part(name)
        sets: dict[str, Records] = {}
        published = PUBLISHED / part.records
        for folder in folders or ([published] if published.is_dir() else []):
            sets |= read_sets(folder)
        judged += [Judged(part=name, claim=claim, findings=judge(claim, sets)) for claim in part.claims]
    return judged


def verdict_cells(judged: Sequence[Judged]) -> Cells:
    """One row per claim, one column per set of data."""
    sets = list(dict.fromkeys(name for entry in judged for name in entry.findings if name)) or [""]
    rows = []
    for entry in judged:
        common = entry.findings.get("")
        found = [common or entry.findings.get(name) for name in sets]
        rows.append(
            [entry.claim.quote, *("–" if finding is None else str(finding.verdict) for finding in found)]
        )
    return Cells(["claim", *(name or "verdict" for name in sets)], rows)


def write_claims(path: Path, judged: Sequence[Judged]) -> Path:
    """The page: per part a table of verdicts, then every claim with its test, numbers and command.

    Raises:
        UserError: If the file cannot be written.
    """
    sections = []
    for name in dict.fromkeys(entry.part for entry in judged):
        part, own = read_part(name), [entry for entry in judged if entry.part == name]
        counts = _counted(own)
        sections.append(text(part.title, [f"The sentences are those of {part.source}.", counts]))
        sections.append(table("Verdicts", verdict_cells(own)))
        for entry in own:
            paragraphs = [f"Test: {entry.claim.test}"] if entry.claim.rule is not None else []
            for where, finding in entry.findings.items():
                shown = f"{where}: {finding.verdict}" if where else str(finding.verdict)
                paragraphs.append(f"{shown}. {finding.evidence}")
            if entry.claim.command:
                paragraphs.append(f"Command: {entry.claim.command}")
            sections.append(text(f"“{entry.claim.quote}”", paragraphs))
    return write_page(path, "Claims, and what was measured", sections)


def _counted(judged: Sequence[Judged]) -> str:
    findings = [finding.verdict for entry in judged for finding in entry.findings.values()]
    found = [(verdict, findings.count(verdict)) for verdict in Verdict]
    return ", ".join(f"{count} × {verdict}" for verdict, count in found if count) + "."


def _records_in(folder: Path) -> dict[str, Record]:
    return {path.stem: read_record(path) for path in sorted(folder.glob("*.json"))}
