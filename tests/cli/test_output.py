"""Tables fit the terminal without losing a letter, and are never cut in a file."""

import pytest

from melies.cli.output import print_parts, table

NUMBERS = [f"{column}.25 [{column}.12, {column}.50]" for column in range(9)]
COLUMNS = ["of", *(f"measure {column}" for column in range(9))]
ROWS = [["real pictures", *NUMBERS], ["autoencoder", *reversed(NUMBERS)]]


@pytest.fixture(params=["", "40", "80", "120", "400"])
def shown(request, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    if request.param:
        monkeypatch.setenv("COLUMNS", request.param)

    def show(*parts) -> tuple[list[str], int]:
        print_parts(parts)
        return capsys.readouterr().out.splitlines(), int(request.param or 1000)

    return show


def test_no_number_is_cut_and_each_row_keeps_its_name(shown):
    lines, width = shown(table(COLUMNS, ROWS))
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text
    for cell in (*COLUMNS, *NUMBERS):
        assert cell in text
    rows = [line for line in lines if line]
    assert {line.split("  ")[0] for line in rows} == {"of", "real pictures", "autoencoder"}
    assert len(rows) % 3 == 0
    assert (len(rows) == 3) == (width >= 400)


def test_the_last_column_is_folded_where_it_has_room(shown):
    words = " ".join(f"word{number}" for number in range(20))
    lines, width = shown(table(("name", "what"), [("a-recipe", words)]))
    assert " ".join("\n".join(lines).removeprefix(lines[0]).split()).removeprefix("a-recipe ") == words
    assert (len(lines) == 2) == (width >= 400)


def test_one_column_and_no_rows(shown):
    assert shown(table(("name",), [["a"], ["b"]]))[0] == ["name", "a", "b"]
    assert shown(table(("name", "what"), []))[0] == ["name  what"]
