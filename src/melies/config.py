"""Frozen configurations: checks for their fields, and the way to JSON and back.

A config is a frozen keyword-only dataclass. A field whose type is a union of dataclasses is
written with the class's name under `"type"`, so that reading it back needs no registry.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from melies.errors import UserError, choose

Config = TypeVar("Config")


def check_range(
    name: str,
    value: float,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    low_open: bool = False,
) -> None:
    """Refuse a number that is not finite or not in [low, high] (with `low_open`, (low, high]).

    Raises:
        UserError: Naming the field, the value and the range.
    """
    bad = not math.isfinite(value) or value > high or value < low or (low_open and value == low)
    if bad:
        bracket = "(" if low_open or low == -math.inf else "["
        end = ")" if high == math.inf else "]"
        raise UserError(
            f"{name} = {value} is not in {bracket}{low:g}, {high:g}{end}",
            remedy=f"give {name} a finite number in that range",
        )


def check_positive(name: str, value: float) -> None:
    """Refuse a number that is not finite and above zero."""
    check_range(name, value, low=0.0, low_open=True)


def to_json(config: Any) -> Any:
    """A JSON-ready copy of a config: nested dataclasses, tuples, paths and plain values.

    Raises:
        TypeError: If a value has no JSON form.
    """
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        hints = typing.get_type_hints(type(config))
        written = {}
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            entry = to_json(value)
            if dataclasses.is_dataclass(value) and len(_dataclasses_in(hints[field.name])) > 1:
                entry = {"type": type(value).__name__, **entry}
            written[field.name] = entry
        return written
    if isinstance(config, Mapping):
        return {str(key): to_json(value) for key, value in config.items()}
    if isinstance(config, tuple | list):
        return [to_json(value) for value in config]
    if isinstance(config, Path):
        return str(config)
    if config is None or isinstance(config, str | int | float | bool):
        return config
    raise TypeError(f"no JSON form for {type(config).__name__}")


def from_json(cls: type[Config], data: Mapping[str, Any], *, where: str = "config") -> Config:
    """The config of class `cls` that `to_json` wrote as `data`.

    Raises:
        UserError: If a field is unknown, missing or of the wrong type; `where` is named.
    """
    if not isinstance(data, Mapping):
        raise UserError(f"expected an object for {cls.__name__}, got {type(data).__name__}", where=where)
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values = {}
    for name, value in data.items():
        if name not in fields:
            choose(name, list(fields), f"field of {cls.__name__} in {where}")
        values[name] = _read(hints[name], value, f"{where}.{name}")
    missing = [
        name
        for name, field in fields.items()
        if name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UserError(f"{cls.__name__} lacks {', '.join(missing)}", where=where)
    return cls(**values)


def _dataclasses_in(hint: Any) -> list[type]:
    members: tuple[Any, ...] = typing.get_args(hint) if _is_union(hint) else (hint,)
    return [m for m in members if isinstance(m, type) and dataclasses.is_dataclass(m)]


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _read(hint: Any, value: Any, where: str) -> Any:
    if _is_union(hint):
        return _read_union(hint, value, where)
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value, where=where)  # type: ignore[arg-type]
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"expected a list, got {value!r}", where=where)
        args = typing.get_args(hint)
        kinds = [args[0]] * len(value) if len(args) == 2 and args[1] is ... else list(args)
        if len(kinds) != len(value):
            raise UserError(f"expected {len(kinds)} values, got {len(value)}", where=where)
        return tuple(_read(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    if origin is typing.Literal:
        if not isinstance(value, str):
            raise UserError(f"expected a word, got {value!r}", where=where)
        return choose(value, list(typing.get_args(hint)), f"value of {where}")
    if origin in (dict, Mapping) or hint in (dict, Any):
        return value
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and (
        not isinstance(value, hint) or (hint is not bool and isinstance(value, bool))
    ):
        raise UserError(f"expected {hint.__name__}, got {value!r}", where=where)
    return value


def _read_union(hint: Any, value: Any, where: str) -> Any:
    members = [member for member in typing.get_args(hint) if member is not type(None)]
    if value is None:
        if len(members) == len(typing.get_args(hint)):
            raise UserError("a value is needed, got null", where=where)
        return None
    if len(members) == 1:
        return _read(members[0], value, where)
    named = {member.__name__: member for member in _dataclasses_in(hint)}
    if named and isinstance(value, Mapping):
        if "type" not in value:
            raise UserError(f"lacks 'type' (one of {', '.join(named)})", where=where)
        cls = choose(str(value["type"]), named, f"type in {where}")
        return from_json(cls, {k: v for k, v in value.items() if k != "type"}, where=where)
    for member in members:
        try:
            return _read(member, value, where)
        except UserError:
            continue
    raise UserError(f"{value!r} fits none of {hint}", where=where)
