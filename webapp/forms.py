"""The submit form as data: an input for each parameter of a function, the options, and what was typed into them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from webapp.typed import EXTRA, InputError, Typed, as_text, read_object, typed

if TYPE_CHECKING:
    from yadtq.core.yadtq_views import FunctionInfo, ParamInfo

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?")
_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
_WIDE = 60  # characters of a signature in one line


@dataclass
class Field:
    """One input of the form and what became of it."""

    name: str  # of the input
    label: str
    hint: str = ""  # type and default, beside the label
    kind: str = "text"  # text, number, date, check, choice or json
    required: bool = False
    text: str = ""  # as typed
    help: str = ""
    error: str = ""
    choices: tuple[str, ...] = ()


@dataclass
class Call:
    """What a filled form asks for."""

    name: str
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> str:
        """The arguments as :func:`read_json` takes them."""
        return json.dumps({"args": self.args, "kwargs": self.kwargs}, indent=2, ensure_ascii=False)


# ---- from the function to the fields


def argument_fields(function: FunctionInfo) -> list[Field]:
    """An input for each parameter, holding its default."""
    return [_field(param) for param in function.params]


def filled_fields(function: FunctionInfo, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Field] | None:
    """The inputs holding these arguments; None where the function does not take them."""
    left, named = list(args), dict(kwargs)
    fields = argument_fields(function)
    for param, one in zip(function.params, fields, strict=True):
        how = _how(param)
        if param.kind == "args":
            one.text, left = (as_text(left, how) if left else ""), []
        elif param.kind == "kwargs":
            one.text, named = (as_text(named, how) if named else ""), {}
        elif param.kind == "positional" and left:
            one.text = as_text(left.pop(0), how)
        elif param.name in named:
            one.text = as_text(named.pop(param.name), how)
    return None if left or named else fields


def signature(function: FunctionInfo) -> str:
    """How the function is defined, over several lines where one would be long."""
    parts, starred = [], False
    for param in function.params:
        if param.kind == "keyword" and not starred:
            parts.append("*")
        starred = starred or param.kind in ("args", "keyword")
        parts.append(_parameter(param))
    name = function.name.rpartition(".")[2]
    line = f"def {name}({', '.join(parts)})"
    return line if len(line) <= _WIDE else f"def {name}(\n" + "".join(f"    {part},\n" for part in parts) + ")"


def _parameter(param: ParamInfo) -> str:
    text = {"args": "*", "kwargs": "**"}.get(param.kind, "") + param.name
    if param.annotation:
        text += f": {param.annotation}"
    if param.required or param.kind in EXTRA:
        return text
    return text + (" = " if param.annotation else "=") + repr(param.default)


def _field(param: ParamInfo) -> Field:
    how = _how(param)
    if param.kind in EXTRA:
        return Field(f"a-{param.name}", param.name, "more, optional", how.kind, help=how.help)
    hint = (param.annotation or "any") + (", required" if param.required else f" = {param.default!r}")
    text = "" if param.required else as_text(param.default, how)
    return Field(f"a-{param.name}", param.name, hint, how.kind, param.required, text, how.help, choices=how.choices)


def _how(param: ParamInfo) -> Typed:
    return EXTRA.get(param.kind) or typed(param.annotation)


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
    try:
        return _how(param).read(one.text)
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


def json_field(text: str) -> Field:
    """The one input of the raw mode."""
    return Field("json", "Arguments", "JSON", "json", text=text, help='"args" by position, "kwargs" by name.')


def read_json(one: Field, call: Call) -> None:
    """Put ``{"args": […], "kwargs": {…}}`` into the call, or its error into the field."""
    try:
        body = read_object(one.text or "{}")
    except InputError as error:
        one.error = str(error)
        return
    args, kwargs = body.get("args", []), body.get("kwargs", {})
    if set(body) - {"args", "kwargs"} or not isinstance(args, list) or not isinstance(kwargs, dict):
        one.error = 'It may hold "args", a list, and "kwargs", an object, and nothing else.'
        return
    call.args, call.kwargs = args, kwargs


# ---- options

_OPTIONS = (
    ("queue", "Queue", "text", "Workers take from the queues they are started with."),
    ("delay", "Start in", "text", "Empty: at once. 90 s, 15 min, 2 h, or a time in UTC such as 2026-11-25 06:00."),
    ("retries", "Retries", "number", "Attempts after the first. Empty: as the function says."),
    ("timeout", "Time limit", "text", "Of one attempt, for example 5 min. Empty: as the function says."),
    ("expires", "Expires in", "text", "What has not started by then does not start. Empty: never."),
    ("key", "Idempotency key", "text", "A second task with the same key is not made; you get the first one."),
)


def option_fields(form: Mapping[str, str], queue: str = "") -> list[Field]:
    """The inputs of the options, holding what was typed, or the queue that fits the function."""
    fields = [Field(f"o-{name}", label, kind=kind, help=text) for name, label, kind, text in _OPTIONS]
    for one in fields:
        one.text = form.get(one.name, queue if one.name == "o-queue" else "").strip()
    return fields


def queue_for(function: FunctionInfo | None) -> str:
    """The queue a task of the function belongs in: the default one where its workers take from it."""
    if function is None or not function.queues or "default" in function.queues:
        return "default"
    return function.queues[0]


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


def _delay(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _span(text)
    distance = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp() - time.time()
    if distance < 0:
        raise InputError("That time has passed.")
    return distance


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise InputError(f"“{text[:40]}” is not a whole number.") from None
    if value < 0:
        raise InputError("It cannot be below 0.")
    return value


_OPTION_READERS: dict[str, Callable[[str], Any]] = {
    "delay": _delay,
    "timeout": _span,
    "expires": _span,
    "retries": _count,
}
