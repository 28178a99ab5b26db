"""Where data is found, in which order, and what is said when it is not."""

import subprocess
import sys
from pathlib import Path

import pytest

from melies.data import PREPARE, places
from melies.data.places import FILES, default_output, find_data
from melies.errors import UserError
from melies.optional import import_from


@pytest.fixture
def world(tmp_path, monkeypatch):
    """An empty working folder, cache and data folder."""
    for name in ("here", "cache", "given"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MELIES_DATA", str(tmp_path / "given"))
    return tmp_path


def test_the_order_of_places(world):
    inside = ["cache/melies/data/emoji64.zip", "here/data/emoji64.zip", "given/emoji", "given/emoji64.zip"]
    for place in inside:  # each comes before those already there
        path = world / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        assert find_data("emoji").resolve() == path.resolve()
    assert find_data("emoji", world / "here") == world / "here"
    assert find_data("emoji", "hf:somebody/emoji") == Path("hf:somebody/emoji")


def test_nothing_found_names_every_place_and_the_command(world):
    with pytest.raises(UserError) as caught:
        find_data("emoji")
    for words in (
        "given/emoji64.zip",
        "data/emoji64.zip",
        "cache/melies/data/emoji64.zip",
        "melies data prepare emoji",
    ):
        assert words in str(caught.value)


def test_an_unset_variable_is_mentioned(world, monkeypatch):
    monkeypatch.delenv("MELIES_DATA")
    with pytest.raises(UserError, match=r"\$MELIES_DATA is not set"):
        find_data("cifar10")


def test_a_given_path_that_is_not_there(world):
    with pytest.raises(UserError, match="no such file"):
        find_data("emoji", "nowhere.zip")


def test_an_unknown_set_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'emoji'"):
        find_data("emojis")


def test_a_relative_cache_variable_is_ignored(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert places.cache_folder() == Path.home() / ".cache/melies/data"
    assert default_output("emoji").name == "emoji64.zip"


def test_every_known_set_can_be_made():
    assert PREPARE.keys() == FILES.keys()
    assert all(callable(import_from(path)) for path in PREPARE.values())


def test_preparing_loads_no_torch():
    code = (
        "import sys, melies.data.places; from melies.data import PREPARE;"
        " from melies.optional import import_from;"
        " [import_from(path) for path in PREPARE.values()]; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
