"""Failures that rise, and failures alike that nobody has mended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flask import url_for

from webapp.attention.concern import Concern, Cure
from webapp.failed import news
from webapp.wording import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from yadtq.core.yadtq_views import FailureGroup, MinuteStats

_RECENT = 5  # minutes that are held against the rest of the hour
_MANY = 10  # failures, at least
_TIMES = 3  # as many as in the rest of the hour, at least


def failing(hour: Sequence[MinuteStats], worst: Sequence[FailureGroup]) -> Iterator[Concern]:
    """One line for the last minutes, with the group behind them; then one for each other group that stands out.

    A group stands out for an hour, or until its tasks are retried or deleted: they leave it then.
    """
    recent = sum(minute.failed for minute in hour[-_RECENT:])
    usual = sum(minute.failed for minute in hour[:-_RECENT]) * _RECENT / max(len(hour) - _RECENT, 1)
    ended = sum(minute.success + minute.failed for minute in hour)
    standing_out = [group for group in worst if _stands_out(group, ended)]
    if recent >= _MANY and recent >= _TIMES * usual:
        behind = next(iter(standing_out or worst), None)
        yield _rising(recent, usual, behind)
        standing_out = [group for group in standing_out if group is not behind]
    for group in standing_out:
        yield _alike(group)


def _stands_out(group: FailureGroup, ended: int) -> bool:
    """Many failures within the hour that are new, more than usual, or half of all that ended."""
    last = group.per_hour[-1]
    return last >= _MANY and (news(group) in ("new", "rising") or 2 * last >= ended)


def _rising(recent: int, usual: float, behind: FailureGroup | None) -> Concern:
    text = f"{number(recent)} tasks in {_RECENT} minutes, {'none' if usual == 0 else f'usually {usual:.0f}'}"
    text += " in the hour before" if usual == 0 else ""
    if behind is None:
        return Concern("failed", "failed", "Failures are rising.", text, url_for("failed.index"))
    text += f"; above all {behind.name}: {_error(behind)}"
    return Concern("failed", "failed", "Failures are rising.", text, _page_of(behind), cures=(_retry(behind),))


def _alike(group: FailureGroup) -> Concern:
    fails_on = group.last_at > time.time() - _RECENT * 60
    return Concern(
        "failed" if fails_on else "warn",
        "failed",
        f"{number(group.per_hour[-1])} tasks failed alike in the last hour.",
        f"{group.name}: {_error(group)}; the last one",
        _page_of(group),
        at=group.last_at,
        cures=(_retry(group),),
    )


def _error(group: FailureGroup) -> str:
    return group.error or group.reason.replace("_", " ")


def _retry(group: FailureGroup) -> Cure:
    address = url_for("bulk.confirm", action="retry", q=f"group:{group.fingerprint}")
    return Cure(f"Retry {number(group.count)}…", address, sent=False, title="Count what would run again, and ask")


def _page_of(group: FailureGroup) -> str:
    return url_for("failed.index", group=group.fingerprint, _anchor="samples")
