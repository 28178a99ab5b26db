"""What holds for any text, any number and any damage."""

import copy
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from melies.errors import UserError
from melies.interfaces import Metric
from melies.machine import without_places
from melies.report.html import measures, page, pictures, text
from melies.report.record import Record, read_record, write_record
from melies.report.table import format_numbers

ROOT = Path(__file__).resolve().parents[2]
FD = Metric("fd", 25.5, "features²", False, 1000, (24.0, 26.9), 0)


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that tags nest."""

    def __init__(self, document):
        super().__init__()
        self.tags, self.attributes, self.said, self.open = [], [], [], []
        self.feed(document)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1))
def test_any_text_is_shown_and_never_obeyed(words):
    words = f"<script>alert('{words}')</script>\"&"
    record = Record(name=words, metrics=(FD._replace(name=words),), command=words)
    sections = [pictures(words, [Image.new("RGB", (1, 1))], [words]), measures(words, [record])]
    reader = Reader(page(words, [*sections, text(words, [words])]))
    assert "script" not in reader.tags
    assert "".join(reader.said).count(words) >= 8
    assert ("alt", words) in reader.attributes


@example(10.75, 1e-12, 0.0)
@given(st.floats(-1e6, 1e6), st.floats(0, 1e3), st.floats(0, 1e3))
def test_what_is_shown_is_within_a_twentieth_of_the_interval(value, below, above):
    metric = Metric("x", value, "", True, 10, (value - below, value + above), 0)
    half = (metric.interval[1] - metric.interval[0]) / 2
    numbers = [float(shown.replace("−", "-").replace(",", "")) for shown in format_numbers(metric)]
    for shown, true in zip(numbers, (value, *metric.interval), strict=True):
        assert shown == pytest.approx(true, abs=max(half / 20, 1e-3 * abs(true)) + 1e-12)


@given(st.data())
@settings(max_examples=50)
def test_a_damaged_record_is_a_users_error_or_a_record(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "r.json"
    written = Record(name="emoji", metrics=(FD,), data={"held_out": 301}, notes={"scale": [4.0]})
    content = json.loads(write_record(path, written).read_text(encoding="utf-8"))
    place = damaged = copy.deepcopy(content)
    while True:  # go down to a random entry
        at = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not (isinstance(place[at], dict | list) and place[at]) or data.draw(st.booleans()):
            break
        place = place[at]
    place[at] = data.draw(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.just([]), st.just({}))
    )
    path.write_text(json.dumps(damaged), encoding="utf-8")
    try:
        read = read_record(path)
    except UserError as error:
        message = str(error)
    else:
        assert isinstance(read, Record)
        return
    assert "r.json" in message


def records():
    """Every record in the repository."""
    found = []
    for folder in ("src/melies/models", "benchmarks", "docs"):
        for path in sorted((ROOT / folder).rglob("*.json")):
            content = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(content, dict) and {"format", "metrics", "hardware"} <= set(content):
                found.append(pytest.param(path, id=str(path.relative_to(ROOT))))
    return found


@pytest.mark.parametrize("path", records())
def test_committed_records_are_sound_and_name_no_place(path):
    record = read_record(path)
    assert record.command
    assert record.date
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if without_places(line) != line] == []
