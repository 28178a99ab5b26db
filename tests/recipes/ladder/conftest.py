"""A ladder in seconds: few pictures, few steps, and a speed that is given and not timed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from melies.metrics import measure

SPEED = 1_000.0
"""Pictures a second, as if timed."""


@pytest.fixture
def quick(monkeypatch, tmp_path) -> None:
    """Measurements of few pictures, and nothing of the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MELIES_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("melies.recipes.ladder.plan.time_stage", lambda *args, **fields: SPEED)
    monkeypatch.setattr("melies.recipes.ladder.own.STEPS", (2, 4))
    monkeypatch.setattr("melies.recipes.ladder.own.MOST_PER_STEPS", 50)
    for name, value in (("FEW", 4), ("WEIGHED", 8), ("DRAWS", 4)):
        monkeypatch.setattr(f"melies.images.inside.{name}", value)
    for name, value in (("NUM_CANDIDATES", 16), ("NUM_STARTS", 2), ("FIRST_STEPS", 2), ("MORE_STEPS", 4)):
        monkeypatch.setattr(f"melies.gan.project.{name}", value)
    monkeypatch.setattr("melies.recipes.ladder.yardstick.MOST_EPOCHS", 1)
    for name in ("frechet_replicates", "bootstrap"):  # intervals have tests of their own
        whole = getattr(measure, name)
        monkeypatch.setattr(
            measure,
            name,
            lambda *args, _whole=whole, **fields: _whole(*args, **{**fields, "num_resamples": 10}),
        )


@pytest.fixture
def halves(write_halves: Callable[..., Path], tmp_path) -> Path:
    """Grey pictures of 8×8 and two classes, enough to leave some for testing."""
    return write_halves(tmp_path / "halves", count=150)
