"""What a request may carry: each parameter and field with its kind and limits, checked and described from one declaration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import abort

_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "array": (list,),
    "object": (dict,),
}


@dataclass(frozen=True)
class Value:
    """One parameter of a query string or one field of a JSON body."""

    kind: str  # of JSON: string, integer, number, array (of strings where it has limits), object
    help: str
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    least: int | None = None  # of a number; of the entries of an array
    most: int | None = None
    fields: Mapping[str, Value] | None = None  # of an object with known ones

    def schema(self, nullable: bool = False) -> dict[str, Any]:
        """As JSON Schema; ``nullable`` where null is the same as leaving it out."""
        found: dict[str, Any] = {"type": [self.kind, "null"] if nullable and not self.required else self.kind}
        if self.choices:
            found["enum"] = list(self.choices)
        if self.default is not None:
            found["default"] = self.default
        names = ("minItems", "maxItems") if self.kind == "array" else ("minimum", "maximum")
        found |= {name: limit for name, limit in zip(names, (self.least, self.most), strict=True) if limit is not None}
        if self.kind == "array" and self.most is not None:
            found["items"] = {"type": "string"}
        if self.fields is not None:
            found |= object_schema(self.fields)
        return found

    def check(self, name: str, value: Any) -> Any:
        """The value; what does not fit is answered by a 400 that says why."""
        fits = isinstance(value, _KINDS[self.kind]) and not isinstance(value, bool)
        if not fits:
            abort(400, f"{name!r} must be {'an' if self.kind[0] in 'aio' else 'a'} {self.kind}.")
        if self.choices and value not in self.choices:
            abort(400, f"{name!r} must be one of {', '.join(self.choices)}.")
        if self.most is not None:
            self._check_size(name, value)
        return check_fields(value, self.fields, f"{name}.") if self.fields is not None else value

    def _check_size(self, name: str, value: Any) -> None:
        size, unit = (len(value), " entries") if self.kind == "array" else (value, "")
        if not (self.least or 0) <= size <= (self.most or 0):
            abort(400, f"{name!r} must be from {self.least} to {self.most:,}{unit}.")
        if self.kind == "array" and not all(isinstance(one, str) for one in value):
            abort(400, f"{name!r} must hold strings only.")

    def parse(self, name: str, text: str) -> Any:
        """The value of a query string's text; what does not fit is answered by a 400."""
        if self.kind == "string":
            return self.check(name, text)
        try:
            number = int(text) if self.kind == "integer" else float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            abort(400, f"{name!r} must be a whole number." if self.kind == "integer" else f"{name!r} must be a number.")
        return self.check(name, number)


def object_schema(fields: Mapping[str, Value]) -> dict[str, Any]:
    """A JSON object with these fields and no others."""
    properties = {name: {**value.schema(nullable=True), "description": value.help} for name, value in fields.items()}
    required = [name for name, value in fields.items() if value.required]
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def check_fields(given: Mapping[str, Any], fields: Mapping[str, Value], prefix: str = "") -> dict[str, Any]:
    """The fields that were given; an unknown one and one that does not fit are answered by a 400."""
    stray = sorted(set(given) - set(fields))
    if stray:
        abort(400, f"There is no field {(prefix + stray[0])[:60]!r}; the fields are {', '.join(fields)}.")
    return {
        name: fields[name].check(prefix + name, value)
        for name, value in given.items()
        if value is not None or fields[name].required
    }
