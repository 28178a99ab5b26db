"""Tables: digits that the interval warrants, and places in Markdown that are filled once and for all."""

from dataclasses import replace

import pytest

from melies.errors import UserError
from melies.report.record import Record, write_record
from melies.report.table import (
    Cells,
    comparison_cells,
    format_numbers,
    main,
    markdown,
    metric_cells,
    out_of_date,
    render_into,
)

TABLE = """
| measure | value | 95 % interval | unit | n |
| --- | ---: | ---: | --- | ---: |
| fd ↓ | 12.50 | 12.00 to 13.00 |  | 2,048 |

"""


@pytest.fixture
def page(tmp_path, record):
    """`page(text) → Path` of a Markdown file beside `records/emoji.json`."""
    write_record(tmp_path / "records" / "emoji.json", record())

    def make(text: str):
        path = tmp_path / "README.md"
        path.write_bytes(text.encode())
        return path

    return make


@pytest.mark.parametrize(
    ("value", "interval", "unit", "shown"),
    [
        (12.5, (12.0, 13.0), "", ("12.50", "12.00", "13.00")),
        (12.345678, (12.3, 12.4), "dB", ("12.346", "12.300", "12.400")),
        (1234.5, (1200.0, 1260.0), "", ("1,234", "1,200", "1,260")),
        (1234567.0, (1e6, 2e6), "", ("1,234,567", "1,000,000", "2,000,000")),
        (0.9123, (0.90, 0.925), "share", ("91.2", "90.0", "92.5")),
        (1.0, (1.0, 1.0), "share", ("100", "100", "100")),
        (0.123456, (0.123456, 0.123456), "", ("0.1235", "0.1235", "0.1235")),
        (-0.5, (-1.0, 0.0), "", ("−0.50", "−1.00", "0.00")),
        (-0.001, (-0.5, 0.5), "", ("0.00", "−0.50", "0.50")),
        (3e-8, (2e-8, 4e-8), "", ("3e-08", "2e-08", "4e-08")),
    ],
)
def test_two_digits_of_the_half_width_are_shown(metric, value, interval, unit, shown):
    assert format_numbers(metric("m", value, interval, unit)) == shown


def test_one_row_per_metric(metric, record):
    share = metric("tone", 0.9, (0.85, 0.95), "share", higher_is_better=True, num_samples=300)
    emoji = record("emoji", metric(), share)
    rows = [
        ["fd ↓", "12.50", "12.00 to 13.00", "", "2,048"],
        ["tone ↑", "90.0", "85.0 to 95.0", "%", "300"],
    ]
    header = ["measure", "value", "95 % interval", "unit", "n"]
    assert metric_cells([emoji]) == (header, rows)
    assert metric_cells([emoji, record("mine")]) == (
        ["of", *header],
        [["emoji", *rows[0]], ["emoji", *rows[1]], ["mine", *rows[0]]],
    )


def test_what_is_counted_has_no_interval_in_a_cell(metric, record):
    counted = record(
        "emoji", metric("weights", 120.0, interval=(120.0, 120.0)), metric("fd", 3.0, (3.0, 3.5))
    )
    (row,) = comparison_cells([counted], ["weights", "fd"]).rows
    assert row[1:3] == ["120", "3.00 [3.00, 3.50]"]


def test_one_row_per_record(metric, record):
    share = metric("tone", 0.9, (0.85, 0.95), "share", higher_is_better=True, num_samples=300)
    cells = comparison_cells([record("emoji", metric(), share), record("mine")], ["tone", "fd"])
    assert cells == (
        ["of", "tone ↑ (%)", "fd ↓", "n"],
        [
            ["emoji", "90.0 [85.0, 95.0]", "12.50 [12.00, 13.00]", "300 to 2,048"],
            ["mine", "–", "12.50 [12.00, 13.00]", "2,048"],
        ],
    )
    with pytest.raises(UserError, match="no record has a metric called 'fid'"):
        comparison_cells([record()], ["fid"])


def test_numbers_stand_on_the_right_and_markup_is_escaped():
    shown = markdown(Cells(["a|b", "n"], [["<b>x</b>\nnext | last", "−1"], ["", "2"]]))
    assert shown.splitlines() == [
        r"| a\|b | n |",
        "| --- | ---: |",
        r"| &lt;b>x&lt;/b> next \| last | −1 |",
        "|  | 2 |",
    ]


def test_a_place_is_filled_and_then_stays(page):
    head, tail = "# Title\n\n<!-- table records/emoji.json -->\n", "<!-- end -->\n\nmore\n"
    path = page(f"{head}old text\n{tail}")
    assert out_of_date(path) == ["records/emoji.json"]
    assert "old text" in path.read_text()  # asking changes nothing
    assert render_into(path) == ["records/emoji.json"]
    assert path.read_text() == f"{head}{TABLE}{tail}"
    assert out_of_date(path) == render_into(path) == []
    assert path.read_text() == f"{head}{TABLE}{tail}"


def test_a_changed_record_makes_its_table_alone_out_of_date(page, record, metric):
    place = "<!-- table records/{}.json -->\n<!-- end -->\n"
    path = page(place.format("emoji") + place.format("mine"))
    write_record(path.parent / "records" / "mine.json", record("mine"))
    render_into(path)
    write_record(path.parent / "records" / "mine.json", record("mine", metric(value=12.6)))
    assert out_of_date(path) == ["records/mine.json"]


def test_a_typed_number_is_out_of_date(page):
    path = page("<!-- table records/emoji.json -->\n<!-- end -->\n")
    render_into(path)
    path.write_text(path.read_text().replace("12.50", "12.40"))
    assert out_of_date(path) == ["records/emoji.json"]


def test_many_records_and_chosen_columns(page, record):
    path = page("<!-- table records/*.json : fd -->\n<!-- end -->\n")
    write_record(path.parent / "records" / "mine.json", record("mine"))
    render_into(path)
    assert "| mine | 12.50 [12.00, 13.00] | 2,048 |\n" in path.read_text()


def test_some_rows_of_a_record_are_chosen_by_pattern(page, record, metric):
    path = page("<!-- rows records/mine.json : fd, * | kd -->\n<!-- end -->\n")
    some = [metric(name=name) for name in ("fd, real", "kd", "kd, real", "fd")]
    write_record(path.parent / "records" / "mine.json", record("mine", *some))
    render_into(path)
    rows = [line.split(" | ")[0] for line in path.read_text().splitlines() if line.startswith("| ")]
    assert rows[2:] == ["| fd, real ↓", "| kd ↓"]


def test_records_may_be_named_one_after_the_other(page, record):
    path = page("<!-- table records/{second,fi*st}.json : fd -->\n<!-- end -->\n")
    for name in ("first", "second", "third"):
        write_record(path.parent / "records" / f"{name}.json", record(name))
    render_into(path)
    rows = [line.split(" | ")[0] for line in path.read_text().splitlines() if line.startswith("| ")]
    assert rows[2:] == ["| second", "| first"]
    path.write_text(path.read_text().replace("second,", "second,absent,"))
    with pytest.raises(UserError, match=r"no record matches 'records/absent\.json'"):
        render_into(path)


def test_what_a_model_has_seen_is_told_from_its_record(page, record):
    path = page("<!-- training records/mine.json -->\n<!-- end -->\n")
    write_record(path.parent / "records" / "mine.json", record("mine"))
    with pytest.raises(UserError, match="how its model was trained"):
        render_into(path)
    trained = {
        "samples_seen": 1_250_048,
        "num_pictures": 7_246,
        "seconds": 12_364,
        "hardware": {"cpu": "EPYC", "cpu_cores": 2, "accelerators": []},
    }
    told = replace(record("mine"), notes={"trained": trained, "num_weights": 4_678_000})
    write_record(path.parent / "records" / "mine.json", told)
    render_into(path)
    assert "| mine | 1,250,048 | 7,246 | 3.4 | EPYC, 2 cores | 4,678,000 |\n" in path.read_text()


def test_line_ends_stay_as_they_are(page):
    path = page("a\r\n<!-- table records/emoji.json -->\r\n<!-- end -->\r\nb")
    render_into(path)
    data = path.read_bytes()
    assert data.count(b"\r\n") == data.count(b"\n") == 8
    assert data.endswith(b"<!-- end -->\r\nb")
    assert out_of_date(path) == []


@pytest.mark.parametrize("fence", ["```", "~~~"])
def test_code_blocks_are_left_alone(page, fence):
    text = f"{fence}\n<!-- table records/none.json -->\n<!-- end -->\n{fence}\n"
    path = page(text + "<!-- table records/emoji.json -->\n<!-- end -->\n")
    assert render_into(path) == ["records/emoji.json"]
    assert path.read_text().startswith(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "\n<!-- table records/emoji.json -->\nrest",
            r"README\.md, line 2: this table has no '<!-- end",
        ),
        ("<!-- table records/emoji.json -->\n" * 2 + "<!-- end -->\n", r"line 1: this table has no"),
        ("<!-- table records/none.json -->\n<!-- end -->\n", "no record matches 'records/none.json'"),
        ("<!-- table /records/emoji.json -->\n<!-- end -->\n", "must be relative"),
        ("<!-- table records/*.json : fid -->\n<!-- end -->\n", "no record has a metric called 'fid'"),
        ("<!-- rows records/emoji.json : fid* -->\n<!-- end -->\n", r"emoji: has no metric 'fid\*'"),
        ("<!-- table README.md -->\n<!-- end -->\n", r"README\.md: not a record"),
    ],
)
def test_a_place_that_cannot_be_filled_leaves_the_file(page, text, said):
    good = "<!-- table records/emoji.json -->\n<!-- end -->\n"
    path = page(good + text if "line" not in said else text)
    before = path.read_bytes()
    with pytest.raises(UserError, match=said):
        render_into(path)
    assert path.read_bytes() == before


def test_the_tables_of_files_from_the_command_line(page, capsys):
    path = page("<!-- table records/emoji.json -->\n<!-- end -->\n")
    assert main([str(path)]) == 0
    assert TABLE in path.read_text()
    assert main([str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: filled records/emoji.json",
        f"{path}: up to date",
    ]
    assert main([]) == main([str(path.parent / "none.md")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.startswith("tables: ") for line in said] == [True, True]
    assert "none.md: cannot be read" in said[1]


def test_listed_is_the_table_that_a_record_holds(tmp_path):
    def written(name, header, rows):
        record = Record(name=name, metrics=(), notes={"table": {"header": header, "rows": rows}})
        write_record(tmp_path / f"{name}.json", record)

    written("a", ["of", "form"], [["x", "u | v"]])
    written("b", ["of", "form"], [["y", "–"]])
    page = tmp_path / "page.md"
    page.write_text("<!-- listed *.json -->\n<!-- end -->\n")
    assert render_into(page) == ["*.json"]
    assert page.read_text().splitlines()[2:6] == [
        "| of | form |",
        "| --- | --- |",
        "| x | u \\| v |",
        "| y | – |",
    ]
    assert out_of_date(page) == []
    written("c", ["other"], [["z"]])
    with pytest.raises(UserError, match="c: the record has no table of these columns"):
        render_into(page)
