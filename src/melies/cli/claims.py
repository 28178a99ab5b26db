"""`melies claims`: what the tutorial says, sentence by sentence, beside what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from melies.cli.output import Answer, Output, place, table
from melies.cli.read import bare_arg, read_arguments
from melies.errors import choose
from melies.recipes.claims import PARTS

ABOUT = (
    "Hold each testable sentence of the tutorial that melies follows against the records: what tests it,"
    " and whether it holds, on each set of data. Without --records those of the source tree are read; a"
    " folder that `melies ladder` wrote is one to give. The page has every test with its numbers and command."
)
EXAMPLES = (
    "melies claims",
    "melies claims ladder --records runs/ladder-digits --out claims.html",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Which part, judged by what."""

    part: Annotated[
        Positional[str | None], arg(metavar="[PART]", help=f"One of {', '.join(PARTS)}; all when left out.")
    ] = None
    records: Annotated[tuple[Path, ...], bare_arg(metavar="FOLDER…")] = ()
    """Folders of records, or what `melies ladder` wrote; those of the source tree when left out."""
    out: Annotated[Path, arg(metavar="HTML")] = Path("out/claims.html")
    """The page to write."""
    output: Annotated[Output, arg(name="")] = Output()


def claims(argv: Sequence[str]) -> Answer:
    """Read the arguments and judge."""
    arguments = read_arguments(Claims, argv, verb="claims", about=ABOUT, examples=EXAMPLES)
    names = list(PARTS) if arguments.part is None else [choose(arguments.part, list(PARTS), "part")]

    from melies.recipes.claims.page import judge_parts, verdict_cells, write_claims

    judged = judge_parts(names, arguments.records)
    page = write_claims(arguments.out, judged)
    cells = verdict_cells(judged)
    rows = [[*row[1:], row[0]] for row in cells.rows]  # the sentence takes what room is left
    return Answer(
        data={"claims": [entry.to_json() for entry in judged], "page": page},
        show=[table([*cells.header[1:], cells.header[0]], rows), "", f"the page is {place(page)}"],
    )
