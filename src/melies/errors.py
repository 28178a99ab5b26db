"""The one error a user sees: what was wrong, where, and what to do."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar, overload

Value = TypeVar("Value")


class UserError(Exception):
    """A mistake that the user can mend; the command prints it and exits with code 2.

    Args:
        what: What was wrong, one sentence, no full stop needed.
        where: The file, field or place it was found in; empty when there is none.
        remedy: What to do about it; empty when nothing can be suggested.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, str(where), remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        """One line: `where: what. remedy`."""
        line = f"{self.where}: {self.what}" if self.where else self.what
        return f"{line}; {self.remedy}" if self.remedy else line


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The valid name most like `name`, or None when nothing is like it."""
    names = list(names)
    folded = {candidate.lower(): candidate for candidate in names}
    found = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
    return folded[found[0]] if found else None


@overload
def choose(name: str, table: Mapping[str, Value], kind: str = ...) -> Value: ...
@overload
def choose(name: str, table: Iterable[str], kind: str = ...) -> str: ...
def choose(name, table, kind="name"):
    """The entry of `table` called `name`; with a plain list of names, the name itself.

    Raises:
        UserError: If there is none; the message names the nearest valid one and lists all.
    """
    if name in table:
        return table[name] if isinstance(table, Mapping) else name
    names = list(table)
    guess = nearest(name, names)
    remedy = f"did you mean {guess!r}? " if guess else ""
    raise UserError(f"unknown {kind} {name!r}", remedy=f"{remedy}Valid: {', '.join(names)}")
