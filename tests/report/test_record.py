"""Records: the same after writing and reading, whole or not at all, and every kind of damage named."""

import dataclasses
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from melies.errors import UserError
from melies.interfaces import Metric
from melies.report.record import Record, read_record, record_run, write_record
from melies.transform import Standardize

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture
def full(metric, record) -> Record:
    return record(
        "emoji",
        metric("fd", 12.5, (12.0, 13.25), seed=7),
        metric("tone", 0.9, (0.85, 0.93), "share", higher_is_better=True, num_samples=300),
        data={"pictures": 100, "split": "held out"},
        command="melies evaluate emoji",
        notes={"scale": 4.0, "nested": [1, {"a": None}]},
        hardware={"cpu": "some", "accelerators": []},
        versions={"torch": "2.13.0"},
        commit="0" * 40,
        duration_s=12.5,
        date="2026-01-02T03:04:05+00:00",
    )


def test_what_is_written_is_what_is_read(tmp_path, full):
    assert read_record(write_record(tmp_path / "new" / "record.json", full)) == full


@given(value=FINITE, low=FINITE, high=FINITE, seed=st.integers(0, 2**63), name=st.text(min_size=1))
def test_every_finite_number_survives(tmp_path_factory, value, low, high, seed, name):
    kept = Metric(
        name=name, value=value, unit="", higher_is_better=True, num_samples=1, interval=(low, high), seed=seed
    )
    path = tmp_path_factory.mktemp("record") / "record.json"
    assert read_record(write_record(path, Record(name="r", metrics=(kept,)))).metrics == (kept,)


def test_a_full_disk_leaves_the_earlier_record(tmp_path, full, monkeypatch):
    path = write_record(tmp_path / "record.json", full)

    def no_room(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(UserError, match=r"record\.json: cannot be written: No space left"):
        write_record(path, dataclasses.replace(full, name="other"))
    assert read_record(path) == full
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


def test_absolute_paths_are_not_published(tmp_path, record):
    long = record(data={"path": "/srv/films/a.zip"}, notes={"runs": ["see /srv/runs/b/c for more"]})
    text = write_record(tmp_path / "record.json", long).read_text()
    assert "srv" not in text
    assert json.loads(text)["data"] == {"path": "a.zip"}
    assert json.loads(text)["notes"] == {"runs": ["see c for more"]}


def test_a_run_is_recorded_with_its_surroundings(metric):
    found = record_run(
        "emoji",
        [metric()],
        data={"pictures": 3},
        command="melies evaluate emoji",
        duration_s=1.23456,
        notes={"transform": Standardize(mean=(0.0,), std=(2.0,))},
        packages=["pillow"],
    )
    assert found.duration_s == 1.235
    assert found.notes == {"transform": {"mean": [0.0], "std": [2.0]}}
    assert {"python", "melies", "torch", "pillow"} <= set(found.versions)
    assert found.hardware["cpu_cores"] >= 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found.date)


def test_a_metric_by_its_name(full):
    assert full.metric("tone").value == 0.9
    with pytest.raises(UserError, match="unknown metric of emoji 'tona'; did you mean 'tone'"):
        full.metric("tona")


@pytest.mark.parametrize("wrong", [{"value": float("nan")}, {"interval": (0.0, float("inf"))}])
def test_a_number_that_is_not_finite_is_refused(metric, record, wrong):
    with pytest.raises(ValueError, match="'fd' of record 'emoji' is not finite"):
        record("emoji", metric(**wrong))


def test_a_name_for_two_metrics_or_none_is_refused(metric, record):
    with pytest.raises(ValueError, match="share the name 'fd'"):
        record("emoji", metric(), metric())
    with pytest.raises(ValueError, match="needs a name"):
        record("")


def changed(**entries):
    return lambda content: content.update(entries)


def changed_metric(**entries):
    return lambda content: content["metrics"][0].update(entries)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content.pop("format"), "it has no 'format'"),
        (lambda content: content.pop("name"), "it has no 'name'"),
        (lambda content: content.pop("metrics"), "it has no 'metrics'"),
        (changed(format=2), "record format 2 is not 1; .* make it again"),
        (changed(commandx="x"), "unknown field in .* 'commandx'; did you mean 'command'"),
        (changed(name=3), ": name: has 3, which is of the wrong kind"),
        (changed(duration_s=True), ": duration_s: has True"),
        (changed(data=[]), r": data: has \[\]"),
        (changed(metrics={}), ": metrics: has {}"),
        (changed(metrics=[1]), r"metrics\[0\]: a metric has exactly the fields name, value"),
        (lambda content: content["metrics"][1].pop("seed"), r"metrics\[1\]: a metric has exactly"),
        (changed_metric(value="1"), r"metrics\[0\]\.value: has '1'"),
        (changed_metric(higher_is_better=1), r"metrics\[0\]\.higher_is_better: has 1"),
        (changed_metric(num_samples=True), r"metrics\[0\]\.num_samples: has True"),
        (changed_metric(interval=[1]), r"metrics\[0\]\.interval: has \[1\] for two numbers"),
        (changed_metric(interval=[1, "2"]), r"interval: has \[1, '2'\] for two"),
        (changed_metric(value=10**400), "too large"),
        (changed_metric(name="tone"), "share the name 'tone'"),
    ],
)
def test_a_damaged_record_is_named_by_its_field(tmp_path, full, damage, said):
    path = write_record(tmp_path / "record.json", full)
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=said) as caught:
        read_record(path)
    assert "record.json" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a record"),
        (b"{", "not a record"),
        (b"[]", "no 'format'"),
        (b'{"format": NaN}', "NaN is not a finite number"),
        (b"[" * 200_000, "not a record"),
        (b"\xff\xfe", "not a UTF-8"),
        (b" " * (16 * 2**20 + 1), "larger than 16 MiB"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_that_is_no_record_is_one_sentence(tmp_path, data, said):
    path: Path = tmp_path / "record.json"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError, match=rf"record\.json: .*{said}"):
        read_record(path)


def test_a_metric_is_found_whatever_features_it_tells(metric, record):
    found = record("x", metric("FD[net@12] floor"), metric("FD[net@12]", 3.0, (2.0, 4.0)), metric("recall"))
    assert found.find("FD").value == 3.0
    assert found.find("FD floor").name == "FD[net@12] floor"
    assert found.find("recall").name == "recall"
    assert found.find("KD") is None
