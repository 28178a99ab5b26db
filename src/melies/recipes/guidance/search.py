"""A search for a few numbers when looking costs: many candidates seen briefly, few at length.

First successive halving (Jamieson & Talwalkar 2016): candidates that fill the space evenly (a scrambled Sobol
sequence) are compared on few pictures, the better third on three times as many, and the best third of those
on all. Then a compass search from the best (Kolda, Lewis & Torczon 2003): one parameter at a time is moved
either way, and the step is halved where nothing is better. Neither needs gradients nor a model of the
function, and with the same seed the same questions are asked, so that a search that was stopped is gone on
with by answering the known ones from memory.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

Places = tuple[float, ...]
"""One number in [0, 1] per parameter."""

THIRD = 3
"""One candidate in so many goes on, to so many times as many pictures."""

RUNGS = 3
HALVING = 0.6
"""Share of the budget for the halving."""

MOST_CANDIDATES = 729
"""More do not make a search of a few numbers better."""

FIRST_STEP, LAST_STEP = 0.25, 0.02
"""Of the compass search, in the unit cube."""


class Question(NamedTuple):
    """A candidate, and on how many pictures it is tried."""

    places: Places
    pictures: int


class Trial(NamedTuple):
    """A question with its answer."""

    question: Question
    loss: float
    """Lower is better; infinite where the candidate cannot be."""


def search(
    ask: Callable[[Question], float],
    cost: Callable[[Question], int],
    num_parameters: int,
    *,
    budget: int,
    pictures: int,
    seed: int = 0,
) -> list[Trial]:
    """All trials in their order; `best_of` tells the one to take.

    Args:
        ask: Gives the loss of a candidate, infinite where it cannot be.
        cost: What asking costs, in units of the budget; nothing is asked that it has no room for.
        num_parameters: Size of the space.
        budget: For all trials together.
        pictures: Of a trial that counts.
        seed: Of the first candidates.
    """
    trials: list[Trial] = []
    spent = 0

    def tried(places: Places, count: int, limit: float) -> Trial | None:
        nonlocal spent
        question = Question(places, count)
        known = next((trial for trial in trials if trial.question == question), None)
        if known is not None:
            return known
        price = cost(question)
        if spent + price > limit:
            return None
        spent += price
        trials.append(Trial(question, ask(question)))
        return trials[-1]

    sizes = [max(2, round(pictures / THIRD**rung)) for rung in reversed(range(RUNGS))]
    whole = cost(Question((0.5,) * num_parameters, pictures))
    wanted = HALVING * budget / whole * THIRD ** (RUNGS - 1) / RUNGS if whole else 0.0
    num = min(MOST_CANDIDATES, max(THIRD, round(wanted)))
    candidates = starting_places(num, num_parameters, seed=seed)
    for rung, size in enumerate(sizes):
        limit = budget * HALVING * (rung + 1) / RUNGS if rung + 1 < RUNGS else budget * HALVING
        found = [trial for places in candidates if (trial := tried(places, size, limit)) is not None]
        found.sort(key=lambda trial: trial.loss)
        going_on = max(1, len(found) // THIRD) if rung + 1 < RUNGS else 1
        candidates = [trial.question.places for trial in found[:going_on]] or candidates[:1]
    # the winner is tried on all pictures even where the halving had no room for it
    best = tried(candidates[0], pictures, float(budget))
    step = FIRST_STEP
    while best is not None and step >= LAST_STEP:
        better = None
        for places in neighbours(best.question.places, step):
            trial = tried(places, pictures, float(budget))
            if trial is None:
                return trials
            if trial.loss < best.loss:
                better = trial
                break
        best, step = (better, step) if better is not None else (best, step / 2)
    return trials


def best_of(trials: Sequence[Trial], pictures: int) -> Trial | None:
    """The trial with the least loss among those on all pictures; None where there is none that can be."""
    whole = [trial for trial in trials if trial.question.pictures == pictures and trial.loss < float("inf")]
    return min(whole, key=lambda trial: trial.loss, default=None)


def starting_places(num: int, num_parameters: int, *, seed: int) -> list[Places]:
    """Candidates that fill the unit cube evenly; the middle of it first."""
    engine = torch.quasirandom.SobolEngine(num_parameters, scramble=True, seed=seed)
    drawn = engine.draw(max(0, num - 1), dtype=torch.float64)
    return [(0.5,) * num_parameters, *(tuple(row) for row in drawn.tolist())]


def neighbours(places: Places, step: float) -> list[Places]:
    """Places with one number moved by a step either way, inside the cube."""
    found = []
    for index, place in enumerate(places):
        for moved in (place + step, place - step):
            inside = min(1.0, max(0.0, moved))
            if inside != place:
                found.append((*places[:index], inside, *places[index + 1 :]))
    return found
