"""Importing the package and asking for help cost nothing: no heavy library is loaded."""

import importlib
import json
import pkgutil
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "accelerate", "matplotlib", "diffusers", "cv2", "scipy", "sklearn")

LOADED = f"""
import json, sys
loaded = sorted({{name.partition('.')[0] for name in sys.modules}} & set({HEAVY!r}))
print(json.dumps(loaded), file=sys.stderr)
"""


def loaded_after(code: str) -> tuple[list[str], str]:
    """The heavy libraries that a fresh interpreter holds after `code`, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code + LOADED], capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(done.stderr.splitlines()[-1]), done.stdout


HELP = """
import sys
from melies.cli.main import main
try:
    status = main([{arguments}])
except SystemExit as stop:
    status = stop.code
assert not status, status
"""


def test_import_loads_nothing_heavy():
    loaded, _ = loaded_after("import melies; print(melies.__version__)")
    assert loaded == []


def test_the_check_itself_sees_what_is_loaded():
    loaded, _ = loaded_after("import scipy")
    assert loaded == ["scipy"]


@pytest.mark.parametrize("arguments", ["'--help'", "'generate', '--help'"])
def test_help_loads_nothing_heavy(arguments):
    loaded, printed = loaded_after(HELP.format(arguments=arguments))
    assert loaded == []
    assert "generate" in printed


def test_public_names_resolve():
    import melies

    assert [name for name in melies.__all__ if getattr(melies, name, None) is None] == []
    with pytest.raises(AttributeError, match="no attribute 'drawn'"):
        _ = melies.drawn


def test_every_module_imports():
    """Under the shape checks: an annotation that the checker cannot use fails here, by name."""
    import melies

    names = [module.name for module in pkgutil.walk_packages(melies.__path__, "melies.")]
    assert "melies.interfaces" in names
    for name in names:
        if name != "melies.__main__":  # runs the command
            importlib.import_module(name)
