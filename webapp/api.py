"""The JSON API under /api/v1: tasks, workers, queues, stats."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flask import Blueprint, abort, g, request, url_for

from webapp.audit import record
from webapp.auth import csrf
from webapp.engine import engine
from webapp.params import oldest_first, wanted_status

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("api", __name__, url_prefix="/api/v1")
csrf.exempt(routes)  # nothing here is changed by a cookie alone: access.py asks for a token

_LIMIT, _LIMIT_MAX = 50, 500
_FIELDS = {"name": str, "args": list, "kwargs": dict, "options": dict}
_OPTIONS = ("queue", "delay", "retries", "timeout", "expires", "key")


@routes.post("/tasks")
def submit() -> ResponseReturnValue:
    """Submit ``{"name", "args", "kwargs", "options"}``; answers 201 and the task."""
    body = _body()
    client = engine().client.options(**body.get("options", {}))
    task_id = client.submit(body["name"], *body.get("args", []), **body.get("kwargs", {}))
    record("submit", task_id, body["name"])
    return _task(task_id), 201, {"Location": url_for("api.task", task_id=task_id)}


@routes.get("/tasks")
def tasks() -> ResponseReturnValue:
    """A page of tasks: ``status``, ``order=oldest``, ``limit``, ``cursor`` from ``next`` or ``previous``."""
    page = engine().views.tasks(
        wanted_status(), cursor=request.args.get("cursor"), limit=_limit(), oldest_first=oldest_first()
    )
    items = [item.to_dict() for item in page.items]
    return {
        "items": items,
        "next": page.next,
        "previous": page.previous,
        "seq": page.seq,
        "epoch": page.epoch,
    }


@routes.get("/tasks/<task_id>")
def task(task_id: str) -> ResponseReturnValue:
    """One task."""
    return _task(task_id)


@routes.post("/tasks/<task_id>/retry")
def retry(task_id: str) -> ResponseReturnValue:
    """Run a failed, cancelled or expired task again."""
    record("retry", task_id, f"now {engine().client.retry(task_id, by=g.user)}")
    return _task(task_id)


@routes.post("/tasks/<task_id>/cancel")
def cancel(task_id: str) -> ResponseReturnValue:
    """Cancel a waiting task; ask a running one to stop."""
    record("cancel", task_id, f"now {engine().client.cancel(task_id, by=g.user)}")
    return _task(task_id)


@routes.get("/workers")
def workers() -> ResponseReturnValue:
    """The workers that beat within the last hour."""
    return {"items": [asdict(worker) for worker in engine().views.workers()]}


@routes.get("/queues")
def queues() -> ResponseReturnValue:
    """The queues and what waits in them."""
    return {"items": [asdict(queue) for queue in engine().views.queues()]}


@routes.get("/stats")
def stats() -> ResponseReturnValue:
    """Counts by state, the last hour by minute, the outbox, what went wrong since the start, and what is wrong now."""
    views = engine().views
    totals = views.totals()
    counts = {str(status): count for status, count in views.counts().items()}
    return {
        "counts": counts,
        "minutes": [asdict(minute) for minute in views.throughput(60)],
        "outbox": views.outbox_size(),
        "totals": {name: totals.get(name, 0) for name in ("fenced", "rebuilt", "rejected")},
        "alarms": [asdict(alarm) for alarm in engine().alarms.current()],
    }


def _task(task_id: str) -> dict[str, Any]:
    return engine().client.get_result(task_id).to_dict()


def _body() -> dict[str, Any]:
    body = request.get_json(silent=True)
    if not isinstance(body, dict) or not isinstance(body.get("name"), str):
        abort(400, 'Send a JSON object such as {"name": "add", "args": [2, 3]} as application/json.')
    for name, value in body.items():
        if name not in _FIELDS:
            abort(400, f"There is no field {name[:40]!r}; the fields are {', '.join(_FIELDS)}.")
        if not isinstance(value, _FIELDS[name]):
            abort(400, f"The field {name!r} must be of the kind {_FIELDS[name].__name__}.")
    stray = sorted(set(body.get("options", {})) - set(_OPTIONS))
    if stray:
        abort(400, f"There is no option {stray[0][:40]!r}; the options are {', '.join(_OPTIONS)}.")
    return body


def _limit() -> int:
    limit = request.args.get("limit", _LIMIT, type=int)
    return min(max(limit, 1), _LIMIT_MAX)
