"""What README, guides and cards say holds: links lead somewhere, commands parse, tables are fresh."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

from melies.cli.main import find_verb, main
from melies.cli.verbs import VERBS
from melies.report.table import out_of_date

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [
    path
    for pattern in ("*.md", "docs/**/*.md", "src/melies/models/*/*.md")
    for path in sorted(ROOT.glob(pattern))
]
BLOCK = re.compile(r"^(```|~~~)(\w*)[^\n]*\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^()\s]+)(?: \"[^\"]*\")?\)")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def commands(program: str) -> list:
    """Every line of a block, and every span of code, that begins with `program`, by its page."""
    found = []
    for path in PAGES:
        text = read(path)
        lines = [line for block in BLOCK.finditer(text) for line in block[3].splitlines()]
        lines += SPAN.findall(BLOCK.sub("", text))
        found += [(path, line) for line in lines if re.match(rf"{program}\s", line)]
    return [pytest.param(line, id=f"{name(path)}: {line}") for path, line in found]


def test_the_first_lines_are_the_two_commands():
    first = BLOCK.search(read(README))
    assert [line.split("#")[0].strip() for line in first[3].splitlines()] == ["make demo", "make test"]
    assert len(commands("melies")) > 10


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_no_table_is_older_than_its_records(path):
    assert out_of_date(path) == []


def test_the_readme_and_every_card_show_numbers_from_records():
    pages = [README, *ROOT.glob("src/melies/models/*/card.md")]
    assert [name(path) for path in pages if not re.search("<!-- (table|rows) ", read(path))] == []


def test_every_shipped_model_has_its_card():
    models = [path.parent for path in ROOT.glob("src/melies/models/*/config.json")]
    assert [name(folder) for folder in models if not (folder / "card.md").exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_link_leads_somewhere(path):
    links = LINK.findall(SPAN.sub("", BLOCK.sub("", read(path))))
    links += re.findall(r"(?:src|href)=\"([^\"]+)\"", read(path))
    local = [link.partition("#")[0] for link in links if not re.match(r"https?:|mailto:|#", link)]
    assert [link for link in local if Path(link).is_absolute() or not (path.parent / link).exists()] == []


@pytest.mark.parametrize("line", commands("melies"))
def test_every_command_is_understood(line, monkeypatch):
    words = shlex.split(line, comments=True)[1:]
    if words[0] in ("--help", "--version"):
        assert main(words) == 0
        return
    if "VERB" in words:  # what every verb takes
        words[words.index("VERB")] = "doctor"
    verb, rest = find_verb(words)
    if not rest:  # the verb is named, not used
        return
    module = importlib.import_module(VERBS[verb].call.partition(":")[0])
    understand = module.read_arguments

    def stop(*arguments, **options):
        understand(*arguments, **options)
        raise SystemExit(0)  # as after --help: nothing need be done

    monkeypatch.setattr(module, "read_arguments", stop)
    function = getattr(module, VERBS[verb].call.partition(":")[2])
    with pytest.raises(SystemExit) as stopped:
        function(rest)
    assert not stopped.value.code


@pytest.mark.parametrize("line", commands("make"))
def test_every_make_target_is_there(line):
    targets = re.findall(r"^([\w-]+):", read(ROOT / "Makefile"), re.MULTILINE)
    asked = [word for word in shlex.split(line, comments=True)[1:] if "=" not in word]
    assert set(asked) <= set(targets)


def imports() -> list[tuple[str, str]]:
    """Module and name of everything that a page takes from melies."""
    blocks = [block for path in PAGES for block in BLOCK.finditer(read(path)) if block[2] == "python"]
    nodes = [node for block in blocks for node in ast.walk(ast.parse(block[3]))]
    found = [
        (node.module, alias.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    found += [
        ("melies", node.attr)
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "melies"
    ]
    return sorted({entry for entry in found if entry[0].split(".")[0] == "melies"})


@pytest.mark.parametrize(("module", "attribute"), imports())
def test_what_a_page_imports_is_there(module, attribute):
    assert hasattr(importlib.import_module(module), attribute)
