"""The search finds the least of functions whose least is known, in its budget, always the same way."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.recipes.guidance.search import (
    THIRD,
    Question,
    best_of,
    neighbours,
    search,
    starting_places,
)


def bowl(*centre: float):
    return lambda question: sum((a - b) ** 2 for a, b in zip(question.places, centre, strict=True))


def price(question: Question) -> int:
    return question.pictures


@pytest.mark.parametrize("centre", [(0.13,), (0.9,), (0.3, 0.77), (0.0, 1.0)])
def test_the_least_of_a_bowl_is_found(centre):
    trials = search(bowl(*centre), price, len(centre), budget=90 * 60, pictures=90)
    best = best_of(trials, 90)
    assert best is not None
    assert best.question.places == pytest.approx(centre, abs=0.03)


def test_most_candidates_are_seen_on_few_pictures_only():
    trials = search(bowl(0.4, 0.6), price, 2, budget=90 * 30, pictures=90)
    counts = [sum(trial.question.pictures == size for trial in trials) for size in (10, 30, 90)]
    assert counts[0] >= THIRD * (counts[1] - 1) > 0
    winners = sorted(trial.loss for trial in trials if trial.question.pictures == 10)[: counts[1]]
    kept = [trial.loss for trial in trials if trial.question.pictures == 30]
    assert sorted(kept) == winners  # the bowl is the same however many pictures


@given(budget=st.integers(0, 5_000), pictures=st.integers(2, 100), num=st.integers(1, 4))
def test_the_budget_is_never_exceeded_and_nothing_is_asked_twice(budget, pictures, num):
    asked = []

    def ask(question: Question) -> float:
        asked.append(question)
        return bowl(*[0.2] * num)(question)

    trials = search(ask, price, num, budget=budget, pictures=pictures)
    assert sum(map(price, asked)) <= budget
    assert len(set(asked)) == len(asked) == len(trials)
    again = search(bowl(*[0.2] * num), price, num, budget=budget, pictures=pictures)
    assert again == trials


def test_what_cannot_be_is_never_the_best():
    def loss(question: Question) -> float:
        return math.inf if question.places[0] < 0.5 else question.places[0]

    best = best_of(search(loss, price, 1, budget=900, pictures=30), 30)
    assert best is not None
    assert 0.5 <= best.loss < 0.55
    nothing = search(lambda question: math.inf, price, 1, budget=900, pictures=30)
    assert best_of(nothing, 30) is None
    assert best_of([], 30) is None


def test_candidates_fill_the_space_and_neighbours_stay_in_it():
    places = torch.tensor(starting_places(65, 2, seed=3))
    assert places[0].tolist() == [0.5, 0.5]
    quarters = (places[1:] >= 0.5).long() @ torch.tensor([2, 1])
    assert torch.bincount(quarters).tolist() == [16] * 4  # a Sobol sequence is even
    assert starting_places(65, 2, seed=3) != starting_places(65, 2, seed=4)
    assert neighbours((0.0, 0.9), 0.25) == [(0.25, 0.9), (0.0, 1.0), (0.0, 0.65)]
