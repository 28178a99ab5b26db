"""Verdicts are read off intervals, and off nothing else."""

import pytest

from melies.interfaces import Metric
from melies.recipes.claims.claim import Claim, Verdict, judge
from melies.recipes.claims.rules import Of, above, below, best_of, every, first_measured, some
from melies.report.record import Record


def records(**rungs):
    """`records(vae=("FD[net@12]", 10, 12)) → {"vae": …}`."""
    made = {}
    for rung, metrics in rungs.items():
        metrics = [metrics] if isinstance(metrics[0], str) else metrics
        made[rung] = Record(
            name=rung,
            metrics=tuple(
                Metric(name, (low + high) / 2, "", False, 100, (low, high), 0) for name, low, high in metrics
            ),
        )
    return made


FD = Of("vae", "FD")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1, 2, Verdict.HOLDS),
        (8, 9, Verdict.FAILS),
        (4, 6, Verdict.UNDECIDED),
        (1, 5, Verdict.UNDECIDED),  # they touch
        (1, 9, Verdict.UNDECIDED),
    ],
)
def test_intervals_decide(low, high, verdict):
    found = records(vae=("FD[net@12]", low, high), gan=("FD[net@12]", 5, 7))
    assert below(FD, Of("gan", "FD"))(found).verdict == verdict
    assert above(Of("gan", "FD"), FD)(found).verdict == verdict


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ((1, 2), (-2, -1), Verdict.HOLDS),
        ((-1, 2), (-2, -1), Verdict.UNDECIDED),
        ((-3, -2), (-2, -1), Verdict.FAILS),
    ],
)
def test_one_of_several_is_enough(first, second, verdict):
    found = records(tuned=[("gain: a", *first), ("gain: b", *second), ("loss: a", 3, 4)])
    assert some("tuned", "gain: ", above_zero=True)(found).verdict == verdict
    assert some("tuned", "nothing: ", above_zero=True)(found).verdict == Verdict.UNMEASURED
    assert some("other", "gain: ", above_zero=True)(found).verdict == Verdict.UNMEASURED


@pytest.mark.parametrize(
    ("number", "verdict"),
    [(4, Verdict.HOLDS), (3, Verdict.UNDECIDED), (2, Verdict.UNDECIDED), (0.5, Verdict.FAILS)],
)
def test_a_number_is_an_interval_without_width(number, verdict):
    assert below(FD, number)(records(vae=("FD", 1, 3))).verdict == verdict


def test_the_evidence_names_both_numbers_with_their_intervals():
    found = records(vae=("FD[net@12]", 1, 3), gan=("FD[net@12]", 5, 7))
    evidence = below(FD, Of("gan", "FD"))(found).evidence
    assert evidence == "FD of vae 2.0 [1.0, 3.0] against FD of gan 6.0 [5.0, 7.0]"
    assert below(FD, 5)(found).evidence.endswith("against 5")
    share = Metric("coverage", 0.5, "share", True, 100, (0.4, 0.6), 0)
    rungs = {"vae": Record(name="vae", metrics=(share,))}
    evidence = above(Of("vae", "coverage"), 0.85)(rungs).evidence
    assert evidence == "coverage of vae 50 [40, 60] % against 85 %"


def test_a_floor_is_not_taken_for_its_metric():
    found = records(vae=[("FD[net@12] floor", 1, 2), ("FD[net@12]", 5, 6)])
    assert FD.find(found).interval == (5, 6)
    assert Of("vae", "FD floor").find(found).interval == (1, 2)


def test_what_is_missing_is_named():
    found = records(vae=("coverage", 1, 2))
    assert below(FD, Of("gan", "FD"))(found) == (Verdict.UNMEASURED, "FD of vae, FD of gan")
    assert below(Of("vae", "coverage"), Of("gan", "coverage"))(found).evidence == "coverage of gan"
    assert below(FD, 3)({}).verdict == Verdict.UNMEASURED


def test_all_of_several_rules_must_hold_and_one_that_fails_decides():
    found = records(a=("x", 1, 2), b=("x", 3, 4), c=("x", 1.5, 3.5))
    holds, fails = below(Of("a", "x"), Of("b", "x")), above(Of("a", "x"), Of("b", "x"))
    open_, missing = below(Of("a", "x"), Of("c", "x")), below(Of("a", "y"), 1)
    assert every(holds, holds)(found).verdict == Verdict.HOLDS
    assert every(holds, open_)(found).verdict == Verdict.UNDECIDED
    assert every(holds, open_, missing)(found).verdict == Verdict.UNMEASURED
    assert every(holds, open_, missing, fails)(found).verdict == Verdict.FAILS
    assert every(holds, open_)(found).evidence.count(";") == 1


def test_the_first_that_was_measured_decides():
    found = records(a=("x", 1, 2), b=("x", 3, 4))
    missing, holds, fails = below(Of("a", "y"), 1), below(Of("a", "x"), 3), below(Of("b", "x"), 3)
    assert first_measured(missing, holds, fails)(found) == holds(found)
    assert first_measured(fails, holds)(found) == fails(found)
    assert first_measured(missing, missing)(found) == missing(found)


def test_the_best_is_better_than_each_other_that_was_measured():
    found = records(a=("FD", 1, 2), b=("FD", 3, 4), c=("FD", 5, 6), d=("KD", 0, 0))
    assert best_of(Of("a", "FD"), ["b", "c"], lower=True)(found).verdict == Verdict.HOLDS
    assert best_of(Of("a", "FD"), ["b", "c"], lower=False)(found).verdict == Verdict.FAILS
    for missing in ("d", "absent"):  # it may be better than those that were measured, and not the best
        assert best_of(Of("a", "FD"), ["b", missing], lower=True)(found).verdict == Verdict.UNMEASURED
        assert best_of(Of("c", "FD"), ["b", missing], lower=True)(found).verdict == Verdict.FAILS


def test_a_claim_is_judged_on_every_set_or_once_for_all():
    rule = below(Of("vae", "x"), 1)
    claim = Claim(quote="q", test="t", rule=rule, command="melies ladder")
    sets = {"digits": records(vae=("x", 0, 0.5)), "clothes": records(vae=("x", 2, 3))}
    assert {name: found.verdict for name, found in judge(claim, sets).items()} == {
        "digits": Verdict.HOLDS,
        "clothes": Verdict.FAILS,
    }
    (unmeasured,) = judge(claim, {}).values()
    assert unmeasured == (Verdict.UNMEASURED, "make the records with `melies ladder`")
    untestable = Claim(quote="q", test="needs a hall of faces", rule=None)
    assert judge(untestable, sets) == {"": (Verdict.UNTESTABLE, "needs a hall of faces")}
