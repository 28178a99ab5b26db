"""`melies train RECIPE`: every field of the recipe's config is an option."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, NoReturn, TypeVar

from tyro.conf import arg

from melies.cli.output import Answer, Output, place, print_parts, table
from melies.cli.read import bare_arg, read_arguments
from melies.errors import UserError, choose
from melies.machine import is_main_process
from melies.optional import import_from
from melies.progress import duration
from melies.recipes import RECIPES, recipe_page
from melies.recipes.job import Job

Config = TypeVar("Config")

USAGE = """usage: melies train RECIPE [--data PATH] [--from MODEL] [--out FOLDER] [--resume] [--field value …]

`melies train RECIPE --help` lists the fields of a recipe.
"""


@dataclass(frozen=True, kw_only=True)
class Train(Generic[Config]):
    """A run of one recipe."""

    data: Annotated[Path | None, bare_arg(metavar="PATH")] = None
    """Pictures: a folder, a zip, shards-{0000..0009}.tar or hf:NAME; the recipe's own set where left out."""
    start_from: Annotated[str | None, bare_arg(name="from", metavar="MODEL")] = None
    """Name or checkpoint of a model whose weights to start from, to tune it on --data."""
    out: Annotated[Path | None, bare_arg(metavar="FOLDER")] = None
    """Run folder for checkpoints, log and previews; runs/RECIPE where left out."""
    resume: Annotated[bool, bare_arg()] = False
    """Go on from the newest checkpoint in the run folder."""
    allow_download: Annotated[bool, bare_arg()] = False
    """Fetch the weights of the text encoder from the Hugging Face hub where they are not here."""
    config: Annotated[Config, arg(name="")]
    output: Annotated[Output, arg(name="")] = Output()


def train(argv: Sequence[str]) -> Answer:
    """Read the arguments and train."""
    if argv and argv[0] in ("-h", "--help"):
        _list_recipes()
    if not argv or list(argv) in (["--json"], ["--quiet"]):
        raise UserError("no recipe given", remedy=f"Valid: {', '.join(RECIPES)}")
    name, *rest = argv
    if name.startswith("-"):
        raise UserError(
            f"the recipe comes first, and {name!r} is none", remedy=f"Valid: {', '.join(RECIPES)}"
        )
    recipe = choose(name, RECIPES, "recipe")
    config = import_from(recipe.config)
    arguments = read_arguments(
        Train[type(config)],
        rest,
        verb=f"train {name}",
        about=recipe_page(name),
        default=Train(config=config),
    )
    out = arguments.out or Path("runs") / name
    output = arguments.output if is_main_process() else Output(quiet=True)
    output.say(f"training {name} into {place(out)}")
    import_from("melies.training.loop:begun_run")(out, resume=arguments.resume)  # before anything is read
    state = import_from(recipe.run)(
        arguments.config,
        Job(
            data=arguments.data,
            out=out,
            start_from=arguments.start_from,
            resume=arguments.resume,
            allow_download=arguments.allow_download,
            progress=output.progress,
            say=output.say,
        ),
    )
    return _answer(name, out, state) if is_main_process() else Answer(data=None)


def _list_recipes() -> NoReturn:
    print(USAGE)
    print_parts([table(("recipe", "what comes out"), [(name, r.what) for name, r in RECIPES.items()])])
    sys.exit(0)


def _answer(name: str, out: Path, state: Any) -> Answer:
    from melies.checkpoint import newest_checkpoint

    checkpoint = newest_checkpoint(out)
    seen, model = f"{state.samples_seen:,} samples seen", place(checkpoint or out)
    return Answer(
        data={
            "recipe": name,
            "out": out,
            "checkpoint": checkpoint,
            "samples_seen": state.samples_seen,
            "seconds": round(state.seconds, 3),
        },
        show=[f"{seen} in {duration(state.seconds)}; the model is {model}"],
        asked=False,
    )
