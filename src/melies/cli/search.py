"""`melies guidance search`: tune a schedule's parameters, and see whether they hold elsewhere."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from melies.cli.output import Answer, Output, place, table
from melies.cli.read import bare_arg, read_arguments
from melies.machine import command_line
from melies.progress import duration
from melies.recipes.guidance.tune_settings import SearchSettings
from melies.recipes.job import Job

ABOUT = (
    "Tune the parameters of a guidance schedule, at the same mean scale, until pictures of some seeds come"
    " near to real ones, within a budget of network evaluations; test what was found on seeds and prompts"
    " that no tuning has seen, against static guidance, pair by pair. With several --models or --steps every"
    " result is tested everywhere: the row says where it was tuned, the column where it was tested.\n\n"
    "What is tuned: clamp-linear (its floor c), pcs (its power s), interval (its ends in σ), curve (a free"
    " curve through --knots numbers). The search halves: many candidates on few pictures, the better third on"
    " three times as many; then it steps from the best along one parameter at a time.\n\n"
    "--out gets a line of JSON for each trial and test as soon as it is done, search.json, figures and a"
    " record; with --resume a search goes on, or gets a larger budget, more models or more steps, and asks"
    " nothing twice."
)
EXAMPLES = (
    "melies guidance search --models emoji --family clamp-linear --scale 5 --budget 300000",
    "melies guidance search --models emoji --family interval --steps 10 25 --out runs/interval",
    "melies guidance search --models runs/fashion-mnist runs/cifar10 --family pcs --scale 3",
)


@dataclass(frozen=True, kw_only=True)
class Search:
    """What to tune, and where to write."""

    settings: Annotated[SearchSettings, arg(name="")] = SearchSettings()
    out: Annotated[Path | None, bare_arg(metavar="FOLDER")] = None
    """Where rows, figures and search.json go; runs/search-FAMILY where left out."""
    resume: Annotated[bool, bare_arg()] = False
    """Go on with the search in that folder."""
    allow_download: Annotated[bool, bare_arg()] = False
    """Fetch what is named and not here from the Hugging Face hub."""
    output: Annotated[Output, arg(name="")] = Output()


def search(argv: Sequence[str]) -> Answer:
    """Read the arguments, tune and test."""
    arguments = read_arguments(Search, argv, verb="guidance search", about=ABOUT, examples=EXAMPLES)
    settings, output = arguments.settings, arguments.output

    from melies.recipes.guidance.transfer import (
        AGAINST,
        search_data,
        transfer_cells,
        tuned_cells,
        write_search,
    )
    from melies.recipes.guidance.tune import run_search

    job = Job(
        out=arguments.out or Path("runs") / f"search-{settings.family}",
        resume=arguments.resume,
        allow_download=arguments.allow_download,
        progress=output.progress,
        say=output.say,
    )
    report = run_search(settings, job)
    files = write_search(report, settings, command=command_line(sys.argv))
    cells = tuned_cells(report)
    shown = [table(cells.header, cells.rows)]
    for against in AGAINST if len(report.tuned) > 1 else ("static",):
        cells = transfer_cells(report, settings, against)
        shown += ["", f"{settings.objective.upper()} on test seeds, {AGAINST[against]}", ""]
        shown.append(table(cells.header, cells.rows))
    return Answer(
        data={
            "out": report.out,
            "files": files,
            "settings": settings,
            **search_data(report),
            "seconds": round(report.seconds, 3),
        },
        show=[*shown, "", f"all of it is in {place(report.out)} ({duration(report.seconds)})"],
    )
