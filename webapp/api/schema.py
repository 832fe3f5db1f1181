"""JSON Schema of the dataclasses that the API answers."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

_PLAIN: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}


def schema_of(kind: Any, known: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type; dataclasses and enums are put into ``known`` by name and referred to."""
    if kind is Any:
        return {}
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return {"anyOf": [schema_of(part, known) for part in parts]}
    if origin is list:
        return {"type": "array", "items": schema_of(parts[0], known)}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(parts[1], known)}
    return _named(kind, known)


def _named(kind: Any, known: dict[str, Any]) -> dict[str, Any]:
    name = kind.__name__
    if name not in known:
        known[name] = {}  # it may hold itself
        known[name] = _enum(kind) if issubclass(kind, Enum) else _dataclass(kind, known)
    return {"$ref": f"#/components/schemas/{name}"}


def _enum(kind: type[Enum]) -> dict[str, Any]:
    return {"type": "string", "enum": [member.value for member in kind], "description": _text(kind)}


def _dataclass(kind: type, known: dict[str, Any]) -> dict[str, Any]:
    if not is_dataclass(kind):
        raise TypeError(f"the API cannot describe {kind!r}")
    hints = get_type_hints(kind)
    names = [one.name for one in fields(kind)]
    return {
        "type": "object",
        "description": _text(kind),
        "properties": {name: schema_of(hints[name], known) for name in names},
        "required": names,
        "additionalProperties": False,
    }


def _text(kind: type) -> str:
    return " ".join((kind.__doc__ or "").split())
