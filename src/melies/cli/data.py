"""`melies data`: make the sets that melies knows, and look at any set of pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from melies.cli.output import Answer, Output, place, table
from melies.cli.read import bare_arg, read_arguments
from melies.data import PREPARE
from melies.data.places import default_output
from melies.errors import choose
from melies.optional import import_from

PREPARE_ABOUT = "Make one of the data sets that melies knows, as one zip that `melies train` finds by itself."
PREPARE_EXAMPLES = (
    "melies data prepare emoji",
    "melies data prepare cifar10 --from cifar-10-python.tar.gz --out data/cifar10.zip",
)
SHOW_ABOUT = (
    "Check a folder or zip of pictures, and say what is in it: counts, sizes, classes, a few captions."
)
SHOW_EXAMPLES = ("melies data show my-pictures/", "melies data show my-pictures.zip --json")
MANY = 12
"""Sizes or classes in a table; the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """Which set, from where, to where."""

    name: Annotated[Positional[str], arg(metavar="SET", help=f"One of {', '.join(PREPARE)}.")]
    source: Annotated[str | None, bare_arg(name="from", metavar="PATH")] = None
    """Files that are here already; where left out they are fetched with the usual client."""
    out: Annotated[Path | None, bare_arg(metavar="ZIP")] = None
    """The zip to write; in the user's cache, where `melies train` looks, when left out."""
    output: Annotated[Output, arg(name="")] = Output()


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """Which set."""

    path: Annotated[Positional[str], arg(metavar="PATH")]
    """A folder, a zip, shards-{0000..0009}.tar, or hf:NAME."""
    output: Annotated[Output, arg(name="")] = Output()


def prepare(argv: Sequence[str]) -> Answer:
    """Read the arguments and make the set."""
    arguments = read_arguments(
        Prepare, argv, verb="data prepare", about=PREPARE_ABOUT, examples=PREPARE_EXAMPLES
    )
    make = import_from(choose(arguments.name, PREPARE, "data set"))
    out = arguments.out or default_output(arguments.name)
    made = make(out, source=arguments.source, progress=arguments.output.progress)
    return Answer(
        data={
            "set": arguments.name,
            "path": made.path,
            "num_pictures": made.num_pictures,
            "source": made.source,
        },
        show=[f"{made.num_pictures:,} pictures from {made.source}, in {place(made.path)}"],
        asked=False,
    )


def show(argv: Sequence[str]) -> Answer:
    """Read the arguments and look."""
    arguments = read_arguments(Show, argv, verb="data show", about=SHOW_ABOUT, examples=SHOW_EXAMPLES)

    from melies.data.overview import overview

    found = overview(arguments.path, progress=arguments.output.progress)
    parts = [f"{found.source}: {found.count:,} pictures, all of them readable"]
    for title, counts in (("size", found.sizes), ("class", found.classes)):
        if counts:
            parts += ["", table((title, "pictures"), _most(counts))]
    if found.captions:
        parts += ["", table(("picture", "caption"), found.captions)]
    if not found.classes and not found.captions:
        parts.append("no classes and no captions: add a metadata.jsonl, or a folder for each class")
    if found.columns:
        parts += ["", f"columns: {', '.join(found.columns)}"]
    return Answer(data=asdict(found), show=parts)


def _most(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    rows = [(name, f"{count:,}") for name, count in list(counts.items())[:MANY]]
    rest = list(counts.values())[MANY:]
    return [*rows, (f"{len(rest)} more", f"{sum(rest):,}")] if rest else rows
