"""How values read on the pages: durations, ages, times, numbers, JSON; the filters of the templates."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from flask import g, request

from webapp.access import allows
from webapp.charts import spark
from webapp.engine import engine
from webapp.wording import DAY, HOUR, MINUTE, duration, number, percent, size, spans
from yadtq.core.yadtq_task import CANCELLABLE, RETRYABLE, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

_PREVIEW = 80  # characters of a value shown in a line


def age(moment: float) -> str:
    """How long ago, or in how long, in its largest unit: ``3 s ago``, ``in 2 h``."""
    distance = time.time() - moment
    size = abs(distance)
    if -2 < distance < 1:  # two clocks differ by so much
        return "just now"
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (1, "s")):
        if size >= unit:
            text = f"{int(size // unit)} {name}"
            break
    return f"{text} ago" if distance > 0 else f"in {text}"


def iso(moment: float) -> str:
    """A time for machines, in milliseconds and UTC."""
    return _utc(moment).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def exact(moment: float) -> str:
    """A time for people, to the millisecond."""
    return f"{_utc(moment):%-d %b %Y, %H:%M:%S}.{_utc(moment).microsecond // 1000:03d} UTC"


def clock(moment: float) -> str:
    """The time of day."""
    return f"{_utc(moment):%H:%M:%S}"


def day(moment: float) -> str:
    """The day of the week and the month."""
    return f"{_utc(moment):%a %-d %b}"


def short_id(task_id: str) -> str:
    """Enough of an id to tell rows apart."""
    return task_id[:8]


def as_json(value: Any) -> str:
    """Indented JSON for reading."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def preview(value: Any) -> str:
    """A value in one short line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _PREVIEW else text[: _PREVIEW - 1] + "…"


def _utc(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, timezone.utc)


_TIMES: tuple[Callable[..., str], ...] = (duration, age, iso, exact, clock, day)
_VALUES: tuple[Callable[..., str], ...] = (number, short_id, as_json, preview, percent, size, spans)


def init_app(app: Flask) -> None:
    """Give the templates their filters and words."""
    for function in (*_TIMES, *_VALUES):
        app.jinja_env.filters[function.__name__] = function
    app.jinja_env.globals.update(
        spark=spark,
        statuses=[str(status) for status in TaskStatus],
        retryable=RETRYABLE,
        cancellable=CANCELLABLE,
        version=version("yadtq"),
    )
    app.context_processor(_context)


def _context() -> dict[str, Any]:
    theme = request.cookies.get("theme")
    role = g.get("role")
    read_only = engine().settings.read_only
    return {
        "now": time.time(),
        "theme": theme if theme in ("light", "dark") else None,
        "role": role,
        "read_only": read_only,
        "allows": allows,
        "may_operate": allows(role, "operator") and not read_only,
        "may_admin": allows(role, "admin") and not read_only,
    }
