"""A claim, what would show it, and what the records say of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from melies.report.record import Record


class Verdict(StrEnum):
    """What became of a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNDECIDED = "undecided"
    """Measured, but the intervals do not tell the two sides apart."""
    UNMEASURED = "not yet measured"
    UNTESTABLE = "not testable here"


class Finding(NamedTuple):
    """A verdict with the numbers it stands on."""

    verdict: Verdict
    evidence: str
    """The numbers, in words; or why there are none."""


Records = Mapping[str, Record]
"""The records of one set of data, by the name of what was measured."""

Rule = Callable[[Records], Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One sentence, and how it is tested."""

    quote: str
    """The sentence, as it stands."""
    test: str
    """What would show it, in words."""
    rule: Rule | None
    """What the records say; None for what cannot be tested here, which `test` then explains."""
    command: str = ""
    """What makes the records; empty where nothing needs to be measured."""
    measured: bool = True
    """Whether the rule reads records; an exact check needs none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the tutorial."""

    title: str
    """What it is about."""
    source: str
    """Whose sentences these are."""
    records: str
    """Folder of its records below `benchmarks/quality`: a folder in it for each set of data."""
    claims: tuple[Claim, ...]
    """In the order of the tutorial."""


def judge(claim: Claim, sets: Mapping[str, Records]) -> dict[str, Finding]:
    """What becomes of a claim on each set of data; under the empty name where it is the same for all."""
    if claim.rule is None:
        return {"": Finding(Verdict.UNTESTABLE, claim.test)}
    if not claim.measured:
        return {"": claim.rule({})}
    if not sets:
        return {"": Finding(Verdict.UNMEASURED, f"make the records with `{claim.command}`")}
    return {name: claim.rule(records) for name, records in sets.items()}
