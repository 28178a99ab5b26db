"""From the words on the command line to the arguments of a verb, with errors of one sentence."""

import contextlib
import functools
import io
import re
from collections.abc import Sequence
from typing import Any

import tyro

from melies.errors import UserError, nearest

bare_arg = functools.partial(tyro.conf.arg, help_behavior_hint="")
"""An option whose default is nothing, so that its help need not say "(default: None)"."""

_RULE = re.compile(r"[─-]{8,}")


def read_arguments(
    kind: Any,
    argv: Sequence[str],
    *,
    verb: str,
    about: str,
    examples: Sequence[str] = (),
    default: Any = None,
) -> Any:
    """The arguments in `argv` as an instance of the dataclass `kind`; `--help` prints and exits.

    Args:
        kind: A frozen dataclass with a docstring under each field, which becomes its help.
        argv: What follows the verb.
        verb: The verb, for the usage line and for errors.
        about: What the verb does; paragraphs are kept.
        examples: Commands for the end of the help.
        default: An instance with the defaults, where the class alone has not all of them.

    Raises:
        UserError: If an option is unknown (the nearest is named), lacks its value or has a wrong one.
        SystemExit: After `--help`.
    """
    # The parser keeps the line breaks before lines that begin with a space.
    shown = "".join(f"\n    {example}" for example in examples)
    said = io.StringIO()
    options = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                kind,
                args=list(argv),
                prog=f"melies {verb}",
                description=f"{about}\n\nExamples:{shown}" if examples else about,
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.AvoidSubcommands),
                **options,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise _one_sentence(said.getvalue(), verb) from None


def _one_sentence(said: str, verb: str) -> UserError:
    """The boxed message of the parser as an error of our own."""
    see = f"see `melies {verb} --help`"
    lines = [line.strip("│╭╮╰╯").rstrip() for line in said.splitlines()]
    sections: list[list[str]] = [[]]
    for line in lines[1:-1]:
        if _RULE.search(line):
            sections.append([])
        else:
            sections[-1].append(line.strip())
    what = " ".join(sections[0]).strip()
    if unknown := re.match(r"Unrecognized options: (\S+?)(,|$)", what):
        suggested = re.search(r"(?<!\S)--[\w.-]+", " ".join(" ".join(part) for part in sections[1:-1]))
        name = unknown[1].partition("=")[0]
        kind = "option" if name.startswith("-") else "argument"
        return UserError(
            f"unknown {kind} {name!r}", remedy=f"did you mean {suggested[0]}?" if suggested else see
        )
    if wrong := re.match(
        r"(?:Error parsing (\S+): )?invalid choice '(.*?)' for argument '(.*?)'.*\((.*)\)", what
    ):
        valid = re.findall(r"'([^']*)'", wrong[4])
        guess = nearest(wrong[2], valid)
        remedy = f"did you mean {guess!r}? " if guess else ""
        return UserError(
            f"{wrong[3]}: unknown value {wrong[2]!r}", remedy=f"{remedy}Valid: {', '.join(valid)}"
        )
    what = re.sub(r"invalid literal for int\(\) with base 10: (.*)", r"\1 is not a whole number", what)
    what = re.sub(r"could not convert string to float: (.*)", r"\1 is not a number", what)
    what = re.sub(r"^Error parsing (\S+): ", r"\1: ", what)
    what = re.sub(r"^Missing from .*?: (\S+).*", r"\1 is missing", what)
    what = re.sub(r"^Missing value for argument '(.*?)'\. Expected (\d+) values?\.", _missing, what)
    return UserError(what.rstrip(".") or "the arguments cannot be read", remedy=see)


def _missing(found: re.Match[str]) -> str:
    return f"{found[1]} needs {'a value' if found[2] == '1' else f'{found[2]} values'}"
