"""The submit form, made of a function's parameters: what is typed becomes values or errors by field."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yadtq.core.yadtq_views import FunctionInfo, ParamInfo

_OPTIONAL = re.compile(r"^Optional\[(.*)\]$|\s*\|\s*None\b|\bNone\s*\|\s*")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?")
_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


class InputError(Exception):
    """What was typed cannot be used; the message stands beside the field."""


@dataclass
class Field:
    """One input of the form and what became of it."""

    name: str  # of the input
    label: str
    hint: str = ""  # type and default, beside the label
    kind: str = "text"  # text, number, check or json
    required: bool = False
    text: str = ""  # as typed
    help: str = ""
    error: str = ""


@dataclass
class Call:
    """What a filled form asks for."""

    name: str
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


# ---- from the function to the fields


def argument_fields(function: FunctionInfo) -> list[Field]:
    """An input for each parameter, holding its default."""
    return [_field(param) for param in function.params]


def _field(param: ParamInfo) -> Field:
    kind = _kind(param)
    hint = param.annotation or ("any" if param.kind in ("positional", "keyword") else "")
    if param.kind in ("args", "kwargs"):
        return Field(f"a-{param.name}", param.name, "more, optional", "json", help=_EXTRA_HELP[param.kind])
    hint += ", required" if param.required else f" = {json.dumps(param.default, ensure_ascii=False)}"
    text = "" if param.required or param.default is None else _as_text(param.default, kind)
    return Field(f"a-{param.name}", param.name, hint, kind, param.required, text)


_EXTRA_HELP = {"args": "A JSON list of further values.", "kwargs": "A JSON object of further named values."}


def _kind(param: ParamInfo) -> str:
    if param.kind in ("args", "kwargs"):
        return "json"
    base = _base(param.annotation)
    return {"int": "number", "float": "number", "bool": "check", "str": "text", "": "text"}.get(base, "json")


def _base(annotation: str) -> str:
    """The annotation without its ``| None``."""
    match = _OPTIONAL.match(annotation)
    return match[1] if match and match[1] else _OPTIONAL.sub("", annotation).strip()


def _as_text(value: Any, kind: str) -> str:
    if kind == "check":
        return "on" if value else ""
    return value if isinstance(value, str) and kind == "text" else json.dumps(value, ensure_ascii=False)


# ---- from what was typed to values


def read_arguments(function: FunctionInfo, form: Mapping[str, str], call: Call) -> list[Field]:
    """Put the arguments into the call; the fields come back with what was typed and what is wrong with it."""
    fields = argument_fields(function)
    by_position = True  # until one is left to its default
    for param, one in zip(function.params, fields, strict=True):
        one.text = form.get(one.name, "").strip()
        given = bool(one.text) or one.kind == "check"
        if not given:
            one.error = "It needs a value." if one.required else ""
            by_position = by_position and param.kind != "positional"
            continue
        value = _value(param, one)
        if not one.error:
            by_position = _place(call, param, value, by_position)
    return fields


def _value(param: ParamInfo, one: Field) -> Any:
    extra = param.kind in ("args", "kwargs")
    read = _READERS.get(param.kind if extra else _base(param.annotation), _json)
    try:
        return read(one.text)
    except InputError as error:
        one.error = str(error)
        return None


def _place(call: Call, param: ParamInfo, value: Any, by_position: bool) -> bool:
    if param.kind == "args":
        call.args.extend(value)
    elif param.kind == "kwargs":
        call.kwargs.update(value)
    elif param.kind == "positional" and by_position:
        call.args.append(value)
    else:
        call.kwargs[param.name] = value
    return by_position


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"“{text[:40]}” is not a whole number.") from None


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"“{text[:40]}” is not a number.") from None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"This is not JSON: {error}.") from None


def _loose(text: str) -> Any:
    """A parameter without a type: JSON where it looks like it, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        if text[:1] in '{["':
            raise InputError("This begins like JSON, but is not.") from None
        return text


def _list(text: str) -> Any:
    value = _json(text)
    if not isinstance(value, list):
        raise InputError("This must be a JSON list, such as [1, 2].")
    return value


def _object(text: str) -> Any:
    value = _json(text)
    if not isinstance(value, dict):
        raise InputError('This must be a JSON object, such as {"a": 1}.')
    return value


_READERS: dict[str, Callable[[str], Any]] = {
    "int": _int,
    "float": _float,
    "str": str,
    "bool": lambda text: text == "on",
    "list": _list,
    "dict": _object,
    "args": _list,
    "kwargs": _object,
    "": _loose,
}


def read_json(text: str, call: Call) -> str:
    """Put ``{"args": […], "kwargs": {…}}`` into the call; the error, or nothing."""
    try:
        body = _object(text or "{}")
    except InputError as error:
        return str(error)
    args, kwargs = body.get("args", []), body.get("kwargs", {})
    if set(body) - {"args", "kwargs"} or not isinstance(args, list) or not isinstance(kwargs, dict):
        return 'It may hold "args", a list, and "kwargs", an object, and nothing else.'
    call.args, call.kwargs = args, kwargs
    return ""


# ---- options

_OPTIONS = (
    ("queue", "Queue", "text", "Empty: the function's own."),
    ("delay", "Start in", "text", "Empty: at once. 90, 90 s, 15 min, 2 h, 1 d."),
    ("retries", "Retries", "number", "Attempts after the first."),
    ("timeout", "Time limit", "text", "Of one attempt, for example 5 min."),
    ("expires", "Expires in", "text", "What has not started by then does not start."),
    ("key", "Idempotency key", "text", "The same key again gives the first task."),
)


def option_fields(form: Mapping[str, str]) -> list[Field]:
    """The inputs of the options, holding what was typed."""
    fields = [Field(f"o-{name}", label, kind=kind, help=text) for name, label, kind, text in _OPTIONS]
    for one in fields:
        one.text = form.get(one.name, "").strip()
    return fields


def read_options(form: Mapping[str, str], call: Call) -> list[Field]:
    """Put the options into the call; the fields come back with their errors."""
    fields = option_fields(form)
    for one in fields:
        if one.text:
            name = one.name.removeprefix("o-")
            try:
                call.options[name] = _OPTION_READERS.get(name, str)(one.text)
            except InputError as error:
                one.error = str(error)
    return fields


def _span(text: str) -> float:
    match = _SPAN.fullmatch(text.lower())
    if match is None:
        raise InputError(f"“{text[:40]}” is not a length of time such as 90 s or 15 min.")
    return float(match[1]) * _SECONDS[match[2] or ""]


def _count(text: str) -> int:
    value = _int(text)
    if value < 0:
        raise InputError("It cannot be below 0.")
    return value


_OPTION_READERS: dict[str, Callable[[str], Any]] = {
    "delay": _span,
    "timeout": _span,
    "expires": _span,
    "retries": _count,
}
