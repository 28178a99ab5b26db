"""`melies recipes`: what can be trained, without loading any of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from melies.cli.output import Answer, Output, table
from melies.cli.read import bare_arg, read_arguments
from melies.errors import choose
from melies.recipes import RECIPES, recipe_page

ABOUT = "List the recipes, or show one: its command, hardware, time, and the numbers to expect."
EXAMPLES = ("melies recipes", "melies recipes emoji-codec", "melies train emoji-codec --help")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipes:
    """Which recipe."""

    name: Annotated[Positional[str | None], bare_arg(metavar="[NAME]")] = None
    """The recipe to show; all of them in a table when left out."""
    output: Annotated[Output, arg(name="")] = Output()


def recipes(argv: Sequence[str]) -> Answer:
    """Read the arguments and list."""
    arguments = read_arguments(Recipes, argv, verb="recipes", about=ABOUT, examples=EXAMPLES)
    if arguments.name is not None:
        recipe = choose(arguments.name, RECIPES, "recipe")
        page = recipe_page(arguments.name)
        data = {"name": arguments.name, **recipe._asdict(), "page": page}
        return Answer(data=data, show=[f"{arguments.name}: {recipe.what}", "", page])
    rows = [(name, recipe.what, recipe.data, recipe.takes) for name, recipe in RECIPES.items()]
    return Answer(
        data={"recipes": [{"name": name, **recipe._asdict()} for name, recipe in RECIPES.items()]},
        show=[table(("recipe", "what comes out", "data", "two cores"), rows)],
    )
