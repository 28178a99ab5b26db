"""Rules that read verdicts off records: comparisons of measured numbers, decided by their intervals."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from melies.interfaces import Metric
from melies.recipes.claims.claim import Finding, Records, Rule, Verdict
from melies.report.table import with_interval


class Of(NamedTuple):
    """One measured number: which record, and which metric of it."""

    record: str
    metric: str
    """Its name; `FD` also finds the one that tells its features, `FD[digits-features@…]`."""

    def find(self, records: Records) -> Metric | None:
        """The metric, where it was measured."""
        record = records.get(self.record)
        return None if record is None else record.find(self.metric)


def below(first: Of, second: Of | float) -> Rule:
    """Holds where all of the first interval lies below the second, or below a number.

    It does not hold where all of it lies above, and is undecided where the two overlap.
    """
    return _compared(first, second, _lies_below)


def above(first: Of, second: Of | float) -> Rule:
    """As `below`, the other way round."""
    return _compared(first, second, lambda a, b: _lies_below(b, a))


def every(*rules: Rule) -> Rule:
    """Holds where all rules hold; one that does not hold decides, then one that is not measured."""

    def rule(records: Records) -> Finding:
        findings = [entry(records) for entry in rules]
        verdicts = {finding.verdict for finding in findings}
        order = (Verdict.FAILS, Verdict.UNMEASURED, Verdict.UNDECIDED)
        verdict = next((verdict for verdict in order if verdict in verdicts), Verdict.HOLDS)
        return Finding(verdict, "; ".join(finding.evidence for finding in findings))

    return rule


def first_measured(*rules: Rule) -> Rule:
    """Decided by the first of the rules whose numbers were measured."""

    def rule(records: Records) -> Finding:
        findings = [entry(records) for entry in rules]
        return next((one for one in findings if one.verdict is not Verdict.UNMEASURED), findings[0])

    return rule


def best_of(first: Of, others: Sequence[str], *, lower: bool) -> Rule:
    """Holds where the number is better than the same of every other record; one that is worse decides."""
    return every(*((below if lower else above)(first, Of(name, first.metric)) for name in others))


def some(record: str, start: str, *, above_zero: bool) -> Rule:
    """Holds where a number whose name begins so lies above 0, or below; not where all lie beyond it."""

    def rule(records: Records) -> Finding:
        known = records[record].metrics if record in records else ()
        names = [metric.name for metric in known if metric.name.startswith(start)]
        if not names:
            return Finding(Verdict.UNMEASURED, f"{start.rstrip(': ')} of {record}")
        findings = [(above if above_zero else below)(Of(record, name), 0)(records) for name in names]
        verdicts = {finding.verdict for finding in findings}
        verdict = next(v for v in (Verdict.HOLDS, Verdict.UNDECIDED, Verdict.FAILS) if v in verdicts)
        return Finding(verdict, "; ".join(finding.evidence for finding in findings))

    return rule


def _compared(
    first: Of, second: Of | float, holds: Callable[[tuple[float, float], tuple[float, float]], bool]
) -> Rule:
    def rule(records: Records) -> Finding:
        a = first.find(records)
        b = second.find(records) if isinstance(second, Of) else None
        missing = [of for of, found in ((first, a), (second, b)) if isinstance(of, Of) and found is None]
        if a is None or missing:
            names = ", ".join(f"{of.metric} of {of.record}" for of in missing)
            return Finding(Verdict.UNMEASURED, names)
        other = (float(second), float(second)) if b is None else b.interval  # type: ignore[arg-type]
        verdict = (
            Verdict.HOLDS
            if holds(a.interval, other)
            else Verdict.FAILS
            if holds(other, a.interval)
            else Verdict.UNDECIDED
        )
        against = said(second, b) if isinstance(second, Of) else _limit(second, a)  # type: ignore[arg-type]
        return Finding(verdict, f"{said(first, a)} against {against}")

    return rule


def said(of: Of, metric: Metric) -> str:
    """A measured number in words: what, of what, value and interval, unit."""
    unit = {"share": " %", "": ""}.get(metric.unit, f" {metric.unit}")
    return f"{of.metric} of {of.record} {with_interval(metric)}{unit}"


def _limit(number: float, metric: Metric) -> str:
    """A number that a metric is compared with, as the metric is written."""
    return f"{100 * number:g} %" if metric.unit == "share" and number else f"{number:g}"


def _lies_below(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[1] < b[0]
