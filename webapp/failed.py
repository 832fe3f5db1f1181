"""The page of failures: groups of tasks that failed alike, and the records that were rejected before they became tasks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flask import Blueprint, abort, render_template, request

from webapp.engine import engine
from webapp.errors import sentence
from yadtq.core.yadtq_views import GROUP_ORDERS, parse_query
from yadtq.errors import InvalidQuery

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from yadtq.core.yadtq_views import FailureGroup, GroupOrder

pages = Blueprint("failed", __name__, url_prefix="/failed")

_GROUPS = 20  # a page
_FRESH, _WAIT = 5.0, 1.6  # seconds a look at the dead topic serves all, and a page waits for one
_HOUR = 3_600
_LEAST = 5  # failures in an hour before they can be said to rise
_TIMES = 3  # as many as in an hour of the day before


@pages.get("")
def index() -> ResponseReturnValue:
    """A page of the groups that match, and the newest tasks of one: that of ``group=``, else the first."""
    reads, asked, cursor = engine().views, request.args.get("group", ""), request.args.get("cursor")
    order, typed = _wanted_order(), request.args.get("q", "").strip()
    try:
        query = parse_query(typed)
    except InvalidQuery as refusal:
        return render_template("failed.html", page=None, order=order, typed=typed, problem=sentence(refusal)), 400
    mark = reads.change_mark()
    page = reads.failure_page(cursor, _GROUPS, order=order, query=query)
    shown = next((group for group in page.items if group.fingerprint == asked), None)
    shown = shown or (reads.failure_group(asked) if asked else next(iter(page.items), None))
    samples = reads.tasks_by_id(shown.sample_ids) if shown else {}
    return render_template(
        "failed.html",
        mark=mark,
        page=page,
        order=order,
        typed=typed,
        first=not cursor,
        cursor=cursor,
        count=reads.failed_count(),
        shown=shown,
        samples=list(samples.values()),
        news={group.fingerprint: news(group) for group in page.items},
        rejected=_rejected_count(),
    )


@pages.get("/count")
def count() -> ResponseReturnValue:
    """How many failed tasks there are, for the title of a page that nobody looks at."""
    return {"failed": engine().views.failed_count()}


@pages.get("/rejected")
def rejected() -> ResponseReturnValue:
    """The newest records of the dead topic."""
    glance = engine().kafka.rejected.get(fresh=_FRESH, wait=_WAIT)
    found = glance.value
    ids = [record.key for record in found.records] if found else []
    return render_template(
        "rejected.html",
        glance=glance,
        found=found,
        topic=engine().settings.dead_topic,
        tasks=engine().views.tasks_by_id(filter(None, ids)),
        rejected=found.kept if found else None,
    )


def news(group: FailureGroup) -> str:
    """One word on how a group has been doing: new, rising, quiet or nothing."""
    if group.first_at > time.time() - _HOUR:
        return "new"
    *before, last = group.per_hour
    if last >= _LEAST and last >= _TIMES * sum(before) / len(before):
        return "rising"
    return "" if any(group.per_hour) else "quiet"


def _wanted_order() -> GroupOrder:
    """The order asked for, newest first where none is; another word is answered by a 400."""
    word = request.args.get("order") or "newest"
    if word not in GROUP_ORDERS:
        abort(400, f"There is no order {word[:40]!r}; the orders are {', '.join(GROUP_ORDERS)}.")
    return word


def _rejected_count() -> int | None:
    """As far as it is known without waiting."""
    now = engine().kafka.now.get(fresh=60, wait=0).value
    return now.survey.rejected if now else None
