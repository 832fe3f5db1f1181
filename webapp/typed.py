"""From a parameter's annotation to the input that fits it, and from what was typed to a value."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

_OPTIONAL = re.compile(r"^(?:typing\.)?Optional\[(.*)\]$|\s*\|\s*None\b|\bNone\s*\|\s*")
_LITERAL = re.compile(r"^(?:typing\.)?Literal\[(.*)\]$")
_LIST = re.compile(r"^(?:\w+\.)*(?:list|tuple|set|frozenset|sequence|iterable|collection)(?:\[(.*)\])?$", re.IGNORECASE)
_DICT = re.compile(r"^(?:\w+\.)*(?:dict|mapping|mutablemapping)(?:\[.*\])?$", re.IGNORECASE)
_COMMAS = "Separate by commas."

Reader = Callable[[str], Any]


class InputError(Exception):
    """What was typed cannot be used; the message stands beside the field."""


@dataclass(frozen=True)
class Typed:
    """How a parameter is filled in."""

    kind: str  # of the input: text, number, date, check, choice or json
    read: Reader
    help: str = ""
    choices: tuple[str, ...] = ()


def typed(annotation: str) -> Typed:
    """The input for a parameter with this annotation; what is unknown takes JSON or plain text."""
    base = _without_none(annotation)
    if base == "bool" and base != annotation.strip():
        return Typed("choice", _json, choices=("true", "false"))
    if base in _PLAIN:
        return _PLAIN[base]
    if literal := _LITERAL.match(base):
        return _choice(literal[1])
    if found := _LIST.match(base):
        return _items(found[1] or "")
    if _DICT.match(base):
        return Typed("json", read_object)
    return Typed("text", _loose, "JSON, or text as it is.")


def as_text(value: Any, how: Typed) -> str:
    """A value as it would be typed."""
    if value is None:
        return ""
    if how.kind == "check":
        return "on" if value else ""
    if isinstance(value, str) and (how.read is not _loose or _loose_or_none(value) == value):
        return value
    if how.help == _COMMAS and isinstance(value, list) and all(_simple(item) for item in value):
        return ", ".join(map(str, value))
    return json.dumps(value, ensure_ascii=False, indent=2 if how.kind == "json" and value else None)


def _without_none(annotation: str) -> str:
    match = _OPTIONAL.match(annotation)
    return match[1] if match and match[1] else _OPTIONAL.sub("", annotation).strip()


def _choice(inner: str) -> Typed:
    try:
        values = ast.literal_eval(f"({inner},)")
    except (ValueError, SyntaxError):
        return Typed("text", _loose)
    by_text = {value if isinstance(value, str) else json.dumps(value): value for value in values}

    def read(text: str) -> Any:
        if text not in by_text:
            raise InputError(f"“{text[:40]}” is none of {', '.join(by_text)}.")
        return by_text[text]

    return Typed("choice", read, choices=tuple(by_text))


def _items(inner: str) -> Typed:
    items: dict[str, Reader] = {"str": str, "int": _int, "float": _float}
    one = items.get(inner.removesuffix(", ...").strip())
    if one is None:
        return Typed("json", read_list)

    def read(text: str) -> list[Any]:
        if text.startswith("["):
            return read_list(text)
        return [one(part.strip()) for part in text.split(",") if part.strip()]

    return Typed("text", read, _COMMAS)


def _simple(item: Any) -> bool:
    """Whether it can stand between commas."""
    if isinstance(item, str):
        return bool(item) and "," not in item and item == item.strip() and item[0] != "["
    return isinstance(item, (int, float)) and not isinstance(item, bool)


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"“{text[:40]}” is not a whole number.") from None


def _float(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"“{text[:40]}” is not a number.") from None
    if not math.isfinite(value):
        raise InputError("JSON has no such number.")
    return value


def _date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise InputError(f"“{text[:40]}” is not a date such as 2026-11-24.") from None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"This is not JSON: {error}.") from None


def _loose(text: str) -> Any:
    """JSON where it looks like it, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        if text[:1] in '{["':
            raise InputError("This begins like JSON, but is not.") from None
        return text


def _loose_or_none(text: str) -> Any:
    try:
        return _loose(text)
    except InputError:
        return None


def read_list(text: str) -> list[Any]:
    """A JSON list."""
    value = _json(text)
    if not isinstance(value, list):
        raise InputError("This must be a JSON list, such as [1, 2].")
    return value


def read_object(text: str) -> dict[str, Any]:
    """A JSON object."""
    value = _json(text)
    if not isinstance(value, dict):
        raise InputError('This must be a JSON object, such as {"a": 1}.')
    return value


_PLAIN = {
    "int": Typed("number", _int),
    "float": Typed("number", _float),
    "str": Typed("text", str),
    "bool": Typed("check", lambda text: text == "on"),
    "date": Typed("date", _date),
    "datetime.date": Typed("date", _date),
}
EXTRA = {
    "args": Typed("json", read_list, "A JSON list of further values."),
    "kwargs": Typed("json", read_object, "A JSON object of further named values."),
}
