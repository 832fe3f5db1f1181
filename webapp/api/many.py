"""Many tasks at once: by their ids, or all that a search or a group of failures holds."""

from __future__ import annotations

import uuid

from flask import g

from webapp.api.operation import operation
from webapp.api.tasks import PAGE, SEARCH
from webapp.api.values import Value
from webapp.audit import record
from webapp.engine import engine
from webapp.jobs import begin_job, end_job
from yadtq.api.yadtq_bulk import ACTIONS, MOST_IDS, BulkJob
from yadtq.api.yadtq_steering import BulkOutcome
from yadtq.core.yadtq_views import GROUP_ORDERS, GroupOrder, GroupPage, TaskPage, parse_query

_ACTION = Value("string", "what to do", required=True, choices=ACTIONS)
_KEY = Value("string", "a repeat with the same key answers the first job")


@operation(
    "POST",
    "/tasks/bulk",
    BulkOutcome,
    body={"action": _ACTION, "ids": Value("array", "the tasks", required=True, least=1, most=MOST_IDS)},
)
def bulk(action: str, ids: list[str]) -> BulkOutcome:
    """Retry, cancel or delete tasks by their ids; tells which were refused, and why."""
    client = engine().client
    moves = {"retry": client.retry_many, "cancel": client.cancel_many, "delete": client.delete_many}
    outcome = moves[action](ids, by=g.user)
    record(f"bulk {action}", f"{len(ids)} tasks", f"{len(outcome.done)} done, {len(outcome.refused)} refused")
    return outcome


@operation(
    "POST",
    "/jobs",
    BulkJob,
    202,
    body={"action": _ACTION, "q": Value("string", "the search; empty means all tasks", required=True), "key": _KEY},
    location=("api.job", "job_id"),
)
def start_job(action: str, q: str, key: str | None) -> BulkJob:
    """Begin to retry, cancel or delete all tasks a search finds now, 200 at a time; `GET /jobs/ID` tells how far it is."""
    return begin_job(q, action, key or uuid.uuid4().hex)


@operation("GET", "/jobs/<job_id>", BulkJob)
def job(job_id: str) -> BulkJob:
    """How far a bulk job is; it has ended when `finished_at` is set."""
    return engine().jobs().get(job_id)


@operation("POST", "/jobs/<job_id>/stop", BulkJob)
def stop_job(job_id: str) -> BulkJob:
    """End a bulk job before its next step; what is done stays done."""
    return end_job(job_id)


@operation(
    "GET",
    "/failures",
    GroupPage,
    query={
        "q": SEARCH["q"],
        "order": Value("string", "which groups first", default="newest", choices=tuple(GROUP_ORDERS)),
        "limit": Value("integer", "groups", default=20, least=1, most=200),
        "cursor": Value("string", "`next` of an earlier page"),
    },
)
def failures(q: str, order: GroupOrder, limit: int, cursor: str | None) -> GroupPage:
    """Failed tasks grouped by what went wrong. A search is held against each group's newest task, and where the page is
    not complete it stopped for its limits, and `next` searches further."""
    return engine().views.failure_page(cursor, limit, order=order, query=parse_query(q))


@operation("GET", "/failures/<fingerprint>", TaskPage, query=PAGE)
def failure(fingerprint: str, limit: int, cursor: str | None) -> TaskPage:
    """A page of one group's tasks, the newest failure first."""
    return engine().views.failed_of(fingerprint, cursor=cursor, limit=limit)


@operation("POST", "/failures/<fingerprint>/replay", BulkJob, 202, body={"key": _KEY}, location=("api.job", "job_id"))
def replay(fingerprint: str, key: str | None) -> BulkJob:
    """Begin to retry a whole group of failures; `total` tells how many."""
    return begin_job(f"group:{fingerprint}", "retry", key or uuid.uuid4().hex)
