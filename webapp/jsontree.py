"""A JSON value for reading: whole, with colours by kind, each list and object foldable."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask

_MOST = 3_000  # values drawn one by one; beyond, the browser gets one text
_OPEN = 30  # members of a list or object that is open at first
_LONG = 400  # characters of a text that is folded


def init_app(app: Flask) -> None:
    """Give the templates ``json_tree``."""
    app.jinja_env.filters["json_tree"] = json_tree


def json_tree(value: Any) -> Markup:
    """The value as HTML."""
    if _more_than(value, _MOST):
        text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
        return Markup('<pre tabindex="0" aria-label="JSON">{}</pre>').format(text)
    return Markup('<div class="json">{}</div>').format(_draw(value, Markup(""), Markup("")))


def _more_than(value: Any, most: int) -> bool:
    left = [value]
    for count, one in enumerate(_walk(left)):
        if count >= most:
            return True
        left += one.values() if isinstance(one, dict) else one if isinstance(one, (list, tuple)) else ()
    return False


def _walk(left: list[Any]) -> Iterator[Any]:
    while left:
        yield left.pop()


def _draw(value: Any, key: Markup, comma: Markup) -> Markup:
    if isinstance(value, dict) and value:
        members = [(_key(name), one) for name, one in value.items()]
        return _fold(members, key, comma, "{", "}")
    if isinstance(value, (list, tuple)) and value:
        if len(value) <= _OPEN and not any(isinstance(one, (dict, list, tuple)) or _is_long(one) for one in value):
            inside = Markup(", ").join(_plain(one) for one in value)
            return Markup("{}[{}]{}").format(key, inside, comma)
        return _fold([(Markup(""), one) for one in value], key, comma, "[", "]")
    if _is_long(value):
        start = json.dumps(value[:60], ensure_ascii=False)[:-1] + "…"
        return Markup(
            '<details><summary>{}<span class="v">{}</span> <span class="k">{:,} characters</span></summary>'
            '<span class="v">{}</span>{}</details>'
        ).format(key, start, len(value), json.dumps(value, ensure_ascii=False), comma)
    return Markup("{}{}{}").format(key, _plain(value), comma)


def _fold(members: list[tuple[Markup, Any]], key: Markup, comma: Markup, opening: str, closing: str) -> Markup:
    last = len(members) - 1
    items = Markup("").join(
        Markup("<li>{}</li>").format(_draw(one, name, Markup("") if index == last else Markup(",")))
        for index, (name, one) in enumerate(members)
    )
    return Markup('<details{}><summary data-n="{}">{}{}</summary><ul>{}</ul>{}{}</details>').format(
        Markup(" open") if len(members) <= _OPEN else "", len(members), key, opening, items, closing, comma
    )


def _key(name: Any) -> Markup:
    return Markup('<span class="k">{}</span>: ').format(json.dumps(str(name), ensure_ascii=False))


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and len(value) > _LONG


def _plain(value: Any) -> Markup:
    """A value without members, in the colour of its kind."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    if value is None or isinstance(value, bool):
        kind = "w"
    elif isinstance(value, (int, float)):
        kind = "n"
    elif isinstance(value, (dict, list, tuple)):
        return escape(text)  # an empty one
    else:
        kind = "v"
    return Markup('<span class="{}">{}</span>').format(kind, text)
