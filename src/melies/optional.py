"""Optional dependencies, imported where they are used, with one sentence of help."""

import importlib
import importlib.util
from types import ModuleType

from melies.errors import UserError


def require(name: str, *, extra: str, why: str) -> ModuleType:
    """Import `name`, or say which extra brings it and what it is needed for.

    Raises:
        UserError: If the package is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != name.split(".")[0]:
            raise  # the package is there and is itself broken: do not hide that
        package = name.split(".")[0]
        raise UserError(
            f"the package {package!r} is needed for {why} and is not installed",
            remedy=f"pip install 'melies[{extra}]'",
        ) from None


def installed(name: str) -> bool:
    """Whether the top-level package `name` can be imported, without importing it."""
    return importlib.util.find_spec(name) is not None


def import_from(path: str):
    """The object named by `"package.module:attribute"`, as the tables of strings write it."""
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)
