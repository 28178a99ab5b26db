"""Méliès: generative vision and film understanding as a library, a command line and a web page."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from melies.version import __version__

if TYPE_CHECKING:
    from melies.checkpoint import load
    from melies.images.generate import draw

_LAZY = {
    "load": "melies.checkpoint",
    "draw": "melies.images.generate",
}

__all__ = ["__version__", "draw", "load"]


def __getattr__(name: str) -> Any:
    """Import public names when they are first used, so that `import melies` loads no torch."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'melies' has no attribute {name!r}")
