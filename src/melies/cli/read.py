"""From the words on the command line to the arguments of a verb, with errors of one sentence."""

import contextlib
import functools
import io
import os
import re
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import tyro

from melies.errors import UserError, nearest

bare_arg = functools.partial(tyro.conf.arg, help_behavior_hint="")
"""An option whose default is nothing, so that its help need not say "(default: None)"."""

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class _Screen(io.StringIO):
    """Where the parser writes: it sees colours as wanted or not, and draws no boxes."""

    def __init__(self, *, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def isatty(self) -> bool:
        return self._colours


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
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    helped, said = _Screen(colours=colours), _Screen(colours=False)
    options = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stdout(helped), contextlib.redirect_stderr(said):
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
            print("\n".join(_fit(line.rstrip()) for line in _without_none(helped.getvalue()).splitlines()))
            raise
        raise _one_sentence(_ANSI.sub("", said.getvalue()), verb) from None


def _without_none(shown: str) -> str:
    """What may be left out is an option of its type, and a default of nothing needs no saying."""
    shown = re.sub(r"\{None\}\|(\S+)(?=  )", rf"\1{' ' * len('{None}|')}", shown)  # the columns stay
    shown = re.sub(r"\{None\}\|", "", shown)
    gap = rf"(?:\s|{_ANSI.pattern})*"
    return re.sub(rf"{gap}\(default:{gap}(?:None)?{gap}\)", "", shown)


def _fit(line: str) -> str:
    """The parser folds the help of the options, but not what stands above it."""
    return line if line.startswith((" ", "\x1b", "usage:")) else textwrap.fill(line, width=80)


def _one_sentence(said: str, verb: str) -> UserError:
    """The message of the parser, its title, what is wrong and what was meant between rules, as our own."""
    see = f"see `melies {verb} --help`"
    sections = [" ".join(part.split()) for part in re.split(r"^\s*-{8,}\s*$", said, flags=re.MULTILINE)]
    what = sections[1] if len(sections) > 1 else sections[0]
    if unknown := re.match(r"Unrecognized options: (\S+?)(,|$)", what):
        suggested = re.search(r"(?<!\S)--[\w.-]+", " ".join(sections[2:-1]))
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
    what = re.sub(  # of an option that may be left out
        r"no type matching .* could be instantiated from .*('.*?' is not a (whole )?number).*", r"\1", what
    )
    what = re.sub(r"^Error parsing (\S+): ", r"\1: ", what)
    what = re.sub(r"^Missing from .*?: (\S+).*", r"\1 is missing", what)
    what = re.sub(r"^Missing value for argument '(.*?)'\. Expected (\d+) values?\.", _missing, what)
    return UserError(what.rstrip(".") or "the arguments cannot be read", remedy=see)


def _missing(found: re.Match[str]) -> str:
    return f"{found[1]} needs {'a value' if found[2] == '1' else f'{found[2]} values'}"
