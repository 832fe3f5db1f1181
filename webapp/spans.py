"""Where a task's time went: waiting, in attempts, between them; as pieces of one bar."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from yadtq.core.yadtq_task import TaskStatus

if TYPE_CHECKING:
    from flask import Flask

    from yadtq.core.yadtq_views import TaskDetail

_LEAST = 0.4  # per cent of the bar that a piece takes at least


@dataclass(frozen=True)
class Span:
    """One piece; start and width in per cent of the whole."""

    st: str  # colour
    words: str
    seconds: float
    start: float = 0.0
    width: float = 0.0
    idle: bool = False  # nothing ran


def init_app(app: Flask) -> None:
    """Give the templates ``sums``."""
    app.jinja_env.filters["sums"] = sums


def spans(detail: TaskDetail, now: float | None = None) -> list[Span]:
    """The pieces in order, from the submission to the end, or to now; none where times are missing."""
    task = detail.result
    begin, end = task.submitted_at, task.finished_at or now or time.time()
    if begin is None or end <= begin:
        return []
    pieces, at = [], begin
    for started, finished, st, words in _runs(detail, end):
        if started < at or finished < started:
            return []  # clocks apart, or a history that was cut
        pieces.append(_idle(started - at, first=at == begin))
        pieces.append(Span(st, words, finished - started))
        at = finished
    if not task.done and task.status is not TaskStatus.PROCESSING:
        pieces.append(_idle(end - at, first=at == begin))
    return _placed([piece for piece in pieces if piece.seconds > 0])


def sums(pieces: list[Span]) -> list[Span]:
    """One for each kind of piece, in the order of their first."""
    found: dict[str, Span] = {}
    for piece in pieces:
        known = found.get(piece.words)
        found[piece.words] = replace(piece, seconds=piece.seconds + (known.seconds if known else 0.0))
    return list(found.values())


def _runs(detail: TaskDetail, end: float) -> list[tuple[float, float, str, str]]:
    """(from, to, colour, words) of each attempt."""
    task = detail.result
    runs = [
        (past.started_at, past.finished_at, "failed", "failed attempts")
        for past in detail.history
        if past.started_at is not None and past.finished_at is not None
    ]
    told = max((finished for _, finished, _, _ in runs), default=0.0)
    if task.started_at is not None and task.started_at > told and (task.done or task.status is TaskStatus.PROCESSING):
        good = task.status is TaskStatus.SUCCESS
        runs.append((task.started_at, end, "success" if good else "processing", "running" if good else "this attempt"))
    return sorted(runs)


def _idle(seconds: float, *, first: bool) -> Span:
    if first:
        return Span("queued", "waiting", seconds, idle=True)
    return Span("retrying", "between attempts", seconds, idle=True)


def _placed(pieces: list[Span]) -> list[Span]:
    whole = sum(piece.seconds for piece in pieces)
    widths = [max(_LEAST, 100 * piece.seconds / whole) for piece in pieces]
    scale, at, placed = 100 / sum(widths) if widths else 1.0, 0.0, []
    for piece, width in zip(pieces, widths, strict=True):
        placed.append(replace(piece, start=round(at * scale, 2), width=round(width * scale, 2)))
        at += width
    return placed
