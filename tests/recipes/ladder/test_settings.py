"""What can be asked of a ladder, and what is said to the rest."""

import pytest

from melies.errors import UserError
from melies.recipes.ladder import RUNGS, SETS
from melies.recipes.ladder.settings import LadderSettings


@pytest.mark.parametrize("name", SETS)
def test_a_set_brings_what_is_usual_for_it(name):
    settings = LadderSettings(data=name)
    assert (settings.minutes, settings.num_drawn, settings.set_name) == (*SETS[name], name)
    asked = LadderSettings(data=name, budget=0.1, count=60)
    assert (asked.minutes, asked.num_drawn) == (0.1, 60)


def test_ones_own_pictures_are_called_by_their_file():
    settings = LadderSettings(data="albums/cats.zip", size=32)
    assert settings.set_name == "cats"
    assert settings.minutes == SETS["fashion-mnist"].minutes


def test_rungs_are_climbed_in_the_order_of_the_tutorial():
    assert LadderSettings().chosen == tuple(RUNGS)
    assert LadderSettings(rungs=("ddpm", "vae")).chosen == ("vae", "ddpm")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rungs": ("vea",)}, "unknown rung 'vea'; did you mean 'vae'"),
        ({"rungs": ("vae", "vae")}, "a rung is named twice"),
        ({"budget": 0.0}, "budget"),
        ({"budget": -1.0}, "budget"),
        ({"budget": float("nan")}, "budget"),
        ({"count": 3}, "count = 3 is not in"),
        ({"size": 32}, "the size of digits is its own"),
        ({"weights": "w.pth"}, "name it with --features"),
        ({"scale": -1.0}, "scale"),
        ({"steps": 0}, "steps"),
        ({"seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_is_refused(fields, said):
    with pytest.raises(UserError, match=said):
        LadderSettings(**fields)
