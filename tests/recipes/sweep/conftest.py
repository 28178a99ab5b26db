"""Sweeps in a second: of a toy, with few replicates."""

from collections.abc import Callable
from pathlib import Path

import pytest

from melies.metrics import measure
from melies.recipes.sweep.settings import SweepSettings


@pytest.fixture
def toy(toy_folders: tuple[Path, Path, Path], monkeypatch, tmp_path) -> Callable[..., SweepSettings]:
    """`toy(scales=(1.0, 3.0)) → settings` of a sweep of that model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MELIES_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("MELIES_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("melies.recipes.sweep.measure.RESAMPLES", 10)  # intervals have tests of their own
    for name in ("frechet_replicates", "bootstrap"):
        whole = getattr(measure, name)
        monkeypatch.setattr(
            measure,
            name,
            lambda *args, _whole=whole, **fields: _whole(*args, **{**fields, "num_resamples": 10}),
        )
    model, data, judge = map(str, toy_folders)
    usual = {"model": model, "data": Path(data), "judge": judge, "features": judge}

    def settings(**fields) -> SweepSettings:
        few = {"seeds": 24, "steps": (4,), "scales": (1.0, 3.0), "batch": 24}
        return SweepSettings(**{**usual, **few, **fields})

    return settings
