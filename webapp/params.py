"""What pages and API both read from a query string."""

from __future__ import annotations

from typing import cast

from flask import abort, request

from yadtq.core.views.rates import SPANS, Span
from yadtq.core.yadtq_task import TaskStatus


def wanted_status() -> TaskStatus | None:
    """The state asked for, or None for all; another word is answered by a 400 that lists them."""
    word = request.args.get("status")
    if not word:
        return None
    try:
        return TaskStatus(word)
    except ValueError:
        abort(400, f"There is no state {word[:40]!r}; the states are {', '.join(map(str, TaskStatus))}.")


def oldest_first() -> bool:
    """Whether the list is asked for in the order of submission."""
    return request.args.get("order") == "oldest"


def wanted_span() -> Span:
    """The span of time asked for, an hour where none is; another word is answered by a 400 that lists them."""
    word = request.args.get("span") or "1h"
    if word not in SPANS:
        abort(400, f"There is no span {word[:40]!r}; the spans are {', '.join(SPANS)}.")
    return cast("Span", word)
