"""What a word of a search may become: the conditions there are, and the values that are known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from yadtq.core.yadtq_query import TIMES, WHOLE
from yadtq.core.yadtq_task import NAME_PATTERN, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from yadtq.core.yadtq_views import Views

_MOST = 10
_NOTE = 80  # characters

_CONDITIONS = {
    "name": "part of the task's name",
    "status": "queued, failed, …",
    "queue": "that queue",
    "worker": "part of the name of the worker that ran it",
    "args": "text in the arguments",
    "error": "text in the error",
    "reason": "why it failed: timeout, worker_lost, …",
    "after": "since: 2h, or a time in UTC",
    "before": "until: 30m, or a time in UTC",
}
_NOT = "leaves out what follows, as in -queue:media"


@dataclass(frozen=True)
class Suggestion:
    """One word; behind a colon at its end a value is to follow."""

    text: str
    note: str  # what it is


@dataclass(frozen=True)
class Suggestions:
    """The first ten, and how many there are."""

    items: list[Suggestion]
    total: int


def suggest(word: str, views: Views) -> Suggestions:
    """What a word may become that begins like this: ``-qu`` to ``-queue:``, ``queue:me`` to ``queue:media``."""
    minus = "-" if word.startswith("-") else ""
    field, colon, typed = word[len(minus) :].partition(":")
    found = _values(minus, field.lower(), typed.lstrip('"'), views) if colon else _conditions(minus, field)
    return Suggestions(found[:_MOST], len(found))


def _conditions(minus: str, typed: str) -> list[Suggestion]:
    names = [name for name in _CONDITIONS if not (minus and name in TIMES)]
    found = [Suggestion(f"{minus}{name}:", _CONDITIONS[name]) for name in _matching(names, typed)]
    return found if minus or typed else [*found, Suggestion("-", _NOT)]


def _values(minus: str, field: str, typed: str, views: Views) -> list[Suggestion]:
    known = _KNOWN[field](views) if field in _KNOWN else {}
    comma = typed.rfind(",") + 1 if field in WHOLE else 0
    before, last = typed[:comma], typed[comma:]
    # Another text cannot be a name, and may be of any length.
    names = [name for name in known if NAME_PATTERN.fullmatch(name) and name not in [*before.split(","), last]]
    return [Suggestion(f"{minus}{field}:{before}{name}", known[name]) for name in _matching(names, last)]


def _matching(names: Iterable[str], typed: str) -> list[str]:
    """Those that hold what is typed; first those that begin so."""
    typed = typed.lower()
    return sorted(
        (name for name in names if typed in name.lower()), key=lambda name: not name.lower().startswith(typed)
    )


def _names(views: Views) -> Mapping[str, str]:
    announced = {one.name: one.doc[:_NOTE] for one in views.functions()}
    return dict.fromkeys(sorted(views.names_lately()), "no worker online knows it") | announced


def _queues(views: Views) -> Mapping[str, str]:
    return {queue.name: f"{queue.queued:,} waiting" for queue in views.queues()}


def _workers(views: Views) -> Mapping[str, str]:
    known: dict[str, str] = {}
    for worker in views.workers():  # those that are online first
        known.setdefault(worker.name, "online" if worker.online else "offline")
    return known


def _statuses(views: Views) -> Mapping[str, str]:
    return {str(status): f"{count:,}" for status, count in views.counts().items()}


def _times(_: Views) -> Mapping[str, str]:
    return {"15m": "a quarter of an hour ago", "1h": "an hour ago", "24h": "a day ago", "7d": "a week ago"}


_KNOWN: dict[str, Callable[[Views], Mapping[str, str]]] = {
    "name": _names,
    "status": _statuses,
    "queue": _queues,
    "worker": _workers,
    "reason": lambda _: {str(reason): "" for reason in Reason},
    "after": _times,
    "before": _times,
}
