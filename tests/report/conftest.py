"""Metrics and records of a few words."""

import pytest

from melies.interfaces import Metric
from melies.report.record import Record


@pytest.fixture
def metric():
    """`metric("fd", 12.5, (12, 13), …) → Metric`."""

    def make(name="fd", value=12.5, interval=(12.0, 13.0), unit="", **more) -> Metric:
        fields = {"higher_is_better": False, "num_samples": 2048, "seed": 0} | more
        return Metric(name=name, value=value, unit=unit, interval=interval, **fields)

    return make


@pytest.fixture
def record(metric):
    """`record("emoji", metric, …) → Record`; with one metric when none is given."""

    def make(name="emoji", *metrics, **more) -> Record:
        return Record(name=name, metrics=metrics or (metric(),), **more)

    return make
