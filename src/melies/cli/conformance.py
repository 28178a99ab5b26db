"""`melies guidance check`: what a guidance function really does."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from melies.cli.output import Answer, Output, place, table
from melies.cli.read import bare_arg, read_arguments
from melies.errors import UserError

ABOUT = (
    "Put fixed predictions into a guidance function and say what it does with them: whether its scale is"
    " the s of u + s·(c − u), off at 1, or the w of c + w·(c − u), off at 0; whether switching off is"
    " seamless; how much it keeps of a difference along c; which channels it guides; how its weight goes"
    " over the run; how often it asks the network where it is on, at scale 1 and at scale 0; and in which"
    " space it acts.\n\n"
    "A target is a way of guiding by name, such as projected:0.5; package.module:function of"
    " (conditional, null, scale), tensors (b, c, h, w), which may also take step= and num_steps=;"
    " package.module:Class of a guidance or of a guider of diffusers; or melies or diffusers, for all of"
    " theirs. Its module is imported and it is called; nothing else is run."
)
EXAMPLES = (
    "melies guidance check projected:0.5 diffusers:AdaptiveProjectedGuidance",
    "melies guidance check my_package.guidance:rule --json",
    "melies guidance check diffusers --out conformance.json",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckArguments:
    """What to measure."""

    targets: Annotated[Positional[tuple[str, ...]], bare_arg(metavar="TARGET…")]
    """What guides."""
    out: Annotated[Path | None, bare_arg(metavar="JSON")] = None
    """Write a record with the table and the versions into this file."""
    output: Annotated[Output, arg(name="")] = Output()


def check(argv: Sequence[str]) -> Answer:
    """Read the arguments and measure."""
    arguments = read_arguments(CheckArguments, argv, verb="guidance check", about=ABOUT, examples=EXAMPLES)
    if not arguments.targets:
        raise UserError("no target given", remedy="name one, as in `melies guidance check projected`")

    from melies.diffusion.guidance.conformance import HEADER, check, row, row_of_failure
    from melies.diffusion.guidance.conformance_targets import targets_of

    started = time.perf_counter()
    rows, found = [], []
    for name in arguments.targets:
        targets = targets_of(name)
        for target in targets:
            try:
                findings = check(target)
            except UserError as error:
                if len(targets) == 1:
                    raise
                rows.append(row_of_failure(target.name, error))
                found.append({"name": target.name, "error": error.what})
            else:
                rows.append(row(findings))
                found.append({entry.name: getattr(findings, entry.name) for entry in fields(findings)})
                found[-1]["remarks"] = findings.remarks
    if arguments.out is not None:
        from melies.machine import command_line, versions
        from melies.report.record import record_run, write_record

        version = versions(("diffusers",)).get("diffusers", "")
        theirs = any(target.startswith("diffusers") for target in arguments.targets)
        header = (f"{HEADER[0]} diffusers {version}" if theirs else HEADER[0], *HEADER[1:])
        record = record_run(
            "guidance-conformance",
            [],
            data={"targets": list(arguments.targets)},
            command=command_line(sys.argv),
            duration_s=time.perf_counter() - started,
            notes={"table": {"header": header, "rows": rows}},
            packages=("torch", "diffusers"),
        )
        write_record(arguments.out, record)
    return Answer(
        data={"targets": found, "record": arguments.out},
        show=[
            table(HEADER, rows),
            *(() if arguments.out is None else ("", f"written to {place(arguments.out)}")),
        ],
    )
