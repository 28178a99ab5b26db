"""Every field of the settings is an option; the record is shown as a table and given whole as JSON."""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from melies.interfaces import Metric
from melies.report.record import Record


@dataclass(frozen=True, kw_only=True)
class Settings:
    """In place of what the measuring takes."""

    model: str = "emoji"
    """Which model."""
    data: Path | None = None
    """Real pictures."""
    count: int = 1000
    """Pictures drawn."""


@pytest.fixture
def asked(monkeypatch):
    calls = []

    def evaluate_files(settings, out, *, command, allow_download, progress, say):
        calls.append((settings, out))
        metric = Metric("kernel distance", 0.25, "1", False, settings.count, (0.125, 0.5), 0)
        return Record(name="pets", metrics=(metric,), notes={"scale": 2.0}, command=command)

    module = ModuleType("melies.images.evaluate")
    module.__dict__.update(EvaluateSettings=Settings, evaluate_files=evaluate_files)
    monkeypatch.setitem(sys.modules, "melies.images.evaluate", module)
    return calls


def test_arguments_become_settings_and_the_record_is_shown(run, asked, monkeypatch):
    done = run("evaluate", "runs/pets", "--count", "64", "--data", "real", "--out", "there")
    assert done.code == 0
    assert asked == [(Settings(model="runs/pets", data=Path("real"), count=64), Path("there"))]
    assert "kernel distance" in done.out
    assert "0.25" in done.out
    assert done.out.endswith("pets, written to there\n")
    monkeypatch.setattr(sys, "argv", ["melies", "evaluate", "runs/pets", "--json"])
    data = run("evaluate", "runs/pets", "--json").json
    assert data["command"] == "melies evaluate runs/pets --json"
    assert data["metrics"][0]["interval"] == [0.125, 0.5]
    assert (data["name"], data["notes"], data["out"]) == ("pets", {"scale": 2.0}, "out/evaluation")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "no model given"),
        (["--quiet"], "no model given"),
        (["--json", "emoji"], "the model comes first, and '--json' is none"),
        (["emoji", "--cuont", "3"], "unknown option '--cuont'; did you mean --count?"),
    ],
)
def test_mistakes(run, asked, argv, said):
    done = run("evaluate", *argv)
    assert (done.code, asked) == (2, [])
    assert said in done.error
