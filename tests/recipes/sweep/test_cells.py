"""Which cells there are, why others are not, and which of them no other beats."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.errors import UserError
from melies.recipes.sweep.cells import Cell, combinations, plan_cells, reasons
from melies.recipes.sweep.compare import pareto
from melies.recipes.sweep.measure import Measured, difference, from_tensors, within_classes
from melies.recipes.sweep.page import short_names
from melies.recipes.sweep.settings import SweepSettings, read_part


def planned(**fields):
    return plan_cells(SweepSettings(**fields), lambda cell: cell.steps)


def test_every_combination_is_there_once():
    settings = SweepSettings(
        schedules=("static", "linear"), scales=(2.0, 4.0), steps=(5, 9), removals=("0.8:1",), seeds=20
    )
    cells = list(combinations(settings))
    assert len(cells) == len(set(cells)) == len({cell.name for cell in cells}) == 16
    assert {cell.removed for cell in cells} == {None, (0.8, 1.0)}
    assert cells[0].name == "plain 2, static, 5 steps, dpmpp"
    assert len({cell.key("a") for cell in cells} | {cell.key("b") for cell in cells}) == 32


def test_what_is_off_is_drawn_once():
    plan = planned(schedules=("static", "linear"), scales=(1.0, 2.0), intervals=("all", "0.5:2"))
    assert len(plan.cells) == 5
    assert {entry.reason for entry in plan.skipped} == {"draws the same as plain 1, static, 25 steps, dpmpp"}
    assert reasons(plan.skipped) == [
        "left out: plain 1, static, 25 steps, dpmpp, sigma 0.5 to 2 and 2 more: draws the same as"
        " plain 1, static, 25 steps, dpmpp"
    ]


def test_what_is_on_at_scale_1_is_drawn():
    plan = planned(schedules=("static", "one-liner"), scales=(1.0, 2.0))
    assert not plan.skipped  # the slide's line of code is at least max(1, …) above the condition alone
    plan = planned(
        methods=("perturbed",), schedules=("static", "linear"), scales=(1.0,), intervals=("all", "0.5:2")
    )
    assert [entry.cell.interval for entry in plan.cells] == [None, (0.5, 2.0)]
    assert {entry.reason.partition(",")[0] for entry in plan.skipped} == {"draws the same as perturbed 1"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"methods": ("plain", "autoguidance")}, "add --weak"),
        ({"methods": ("plain", "classifier")}, "add --classifier"),
        ({"methods": ("plain", "plus-plus")}, "PlusPlus does not fit the sampler 'dpmpp'"),
        ({"methods": ("plain", "frequency")}, "'frequency' needs a parameter"),
        ({"schedules": ("static", "linear"), "scales": (0.5, 2.0)}, "cannot have the mean 0.5"),
    ],
)
def test_what_does_not_go_together_is_left_out_with_the_reason(fields, said):
    plan = planned(**fields)
    assert plan.cells
    assert any(said in entry.reason for entry in plan.skipped)


def test_nothing_left_is_an_error():
    with pytest.raises(UserError, match="no combination can be drawn"):
        planned(methods=("signed",))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"methods": ("plane",)}, "unknown guidance 'plane'; did you mean 'plain'"),
        ({"schedules": ("lineer:2",)}, "unknown schedule 'lineer'"),
        ({"scales": ()}, "scales: at least one is needed"),
        ({"scales": (2.0, 2.0)}, "scales: one is named twice"),
        ({"scales": (float("nan"),)}, "scales = nan"),
        ({"scales": (-1.0,)}, "scales = -1"),
        ({"steps": (0,)}, "steps = 0"),
        ({"samplers": ("hoin",)}, "unknown sampler 'hoin'"),
        ({"intervals": ("5:2",)}, "intervals: the interval 5:2 has its ends swapped or is empty; give 2:5"),
        ({"intervals": ("wide",)}, "'wide' is no interval; give LOW:HIGH"),
        ({"removals": ("all",)}, "'all' is no interval"),
        ({"seeds": 3}, "seeds = 3"),
    ],
)
def test_bad_settings_are_named(fields, said):
    with pytest.raises(UserError, match=said):
        SweepSettings(**fields)


def test_parts_are_read():
    assert read_part("0.3:5", "intervals") == (0.3, 5.0)
    assert read_part("all", "intervals") is None


points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12)


@given(points)
def test_the_front_is_what_no_other_beats(found):
    kept = pareto(found, higher=(True, False))
    assert any(kept)
    for mine, best in zip(found, kept, strict=True):
        beaten = any(o[0] >= mine[0] and o[1] <= mine[1] and o != mine for o in found)
        assert best == (not beaten)


def test_differences_are_paired():
    """Two cells that differ by a constant are told apart, however much their pictures differ."""
    generator = torch.Generator().manual_seed(0)
    values = 100 * torch.randn(50, generator=generator, dtype=torch.float64)
    sides = []
    for shift in (0.0, 0.5):
        side = Measured()
        side.add_mean("a", values + shift, unit="", higher=True, seed=0)
        several = torch.arange(20.0, dtype=torch.float64) + shift
        side.add("b", 10.0 + shift, several, 50, unit="", higher=True, seed=0)
        sides.append(from_tensors(side.metrics, side.tensors()))
    for name in ("a", "b"):
        found = difference(sides[1], sides[0], name, seed=0)
        assert (found.value, *found.interval) == pytest.approx((0.5, 0.5, 0.5))


def test_variety_within_classes_does_not_see_what_classes_differ_by():
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.5, 0.5]])
    labels = torch.tensor([0, 0, 1, 1, 2])
    assert within_classes(features, labels) == pytest.approx(0.0, abs=1e-7)
    assert within_classes(features, torch.tensor([0, 1, 0, 1, 2])) == pytest.approx(1.0)


def test_names_drop_what_all_share():
    names = [
        Cell(scale=scale, schedule=schedule).name for scale in (1.0, 2.0) for schedule in ("static", "v")
    ]
    assert short_names(names) == ["plain 1, static", "plain 1, v", "plain 2, static", "plain 2, v"]
    assert short_names(["a, b"]) == ["a, b"]
