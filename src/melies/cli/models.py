"""`melies models`: what is here, its cards, and adding what was brought by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from melies.cli.output import Answer, Output, megabytes, place, table
from melies.cli.read import bare_arg, read_arguments
from melies.errors import UserError
from melies.models import ModelEntry, card_of, describe_model, find_model, list_models, user_folder

ABOUT = (
    "List the models that can be named: those that ship with melies, and your own in $MELIES_MODELS or in"
    " your data folder. `melies models show NAME` shows a card, `melies models add FILE` adds a model."
)
SHOW_ABOUT = "Show the card of a model: what it is, what it was trained on, how well it does."
ADD_ABOUT = (
    "Check a model that was brought by hand, convert it to half-precision weights without training state,"
    " and keep it under a name. FILE is a checkpoint folder, a run folder, a zip of one, or the weights"
    " alone (safetensors, or .pth and .pt if they hold nothing but tensors) of a model shaped like one that"
    " is here. Nothing in the file is ever run."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """No arguments of its own."""

    output: Annotated[Output, arg(name="")] = Output()


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """Which model."""

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """Name of a model, or the path of a checkpoint."""
    output: Annotated[Output, arg(name="")] = Output()


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """What to add, under which name."""

    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """Checkpoint folder, run folder, zip of one, or a file of weights."""
    name: Annotated[str | None, bare_arg(metavar="NAME")] = None
    """What to call it; the name of the file where left out."""
    like: Annotated[str | None, bare_arg(metavar="MODEL")] = None
    """For weights alone: the model whose shape they have; found by trying where left out."""
    output: Annotated[Output, arg(name="")] = Output()


def models(argv: Sequence[str]) -> Answer:
    """Read the arguments and list."""
    read_arguments(
        Models, argv, verb="models", about=ABOUT, examples=("melies models", "melies models --json")
    )
    entries = list_models()
    rows = [(e.name, e.kind, megabytes(e.size_bytes), e.summary, place(e.folder)) for e in entries]
    shown = table(("model", "kind", "size", "what it is", "where"), rows)
    return Answer(
        data={"models": [_entry(entry) for entry in entries], "user_folder": user_folder()},
        show=[shown if rows else "no models are here; `melies models add FILE` adds one"],
    )


def show(argv: Sequence[str]) -> Answer:
    """Read the arguments and show one."""
    examples = ("melies models show emoji", "melies models show runs/emoji/checkpoint-1500000")
    arguments = read_arguments(Show, argv, verb="models show", about=SHOW_ABOUT, examples=examples)
    entry = describe_model(find_model(arguments.name))
    card = card_of(entry.folder)
    facts = [f"{name}: {_in_words(value)}" for name, value in entry.provenance.items()]
    head = f"{entry.name}: {entry.kind}, {megabytes(entry.size_bytes)}, in {place(entry.folder)}"
    return Answer(
        data={**_entry(entry), "card": card},
        show=[head, "", card.rstrip() or "\n".join(["no card; its checkpoint says:", *facts])],
    )


def add(argv: Sequence[str]) -> Answer:
    """Read the arguments and add."""
    examples = ("melies models add runs/my-emoji --name mine", "melies models add weights.pth --like emoji")
    arguments = read_arguments(Add, argv, verb="models add", about=ADD_ABOUT, examples=examples)
    if not arguments.file.expanduser().exists():
        raise UserError("there is no such file or folder", where=str(arguments.file))
    arguments.output.say(f"checking {place(arguments.file)}")

    from melies.cli.add import add_model

    entry = add_model(arguments.file, name=arguments.name, like=arguments.like)
    return Answer(
        data=_entry(entry),
        show=[f"{entry.name}: {entry.kind}, {megabytes(entry.size_bytes)}, in {place(entry.folder)}"],
        asked=False,
    )


def _in_words(value: Any) -> str:
    """A fact of a checkpoint as a person would write it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_in_words(each)}" for name, each in value.items() if each not in ([], {}))
    return ", ".join(map(_in_words, value)) if isinstance(value, list) else str(value)


def _entry(entry: ModelEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "size_bytes": entry.size_bytes,
        "summary": entry.summary,
        "shipped": entry.shipped,
        "path": entry.folder,
        "provenance": entry.provenance,
    }
