"""The audit log: who changed what, from where. One way in, and its page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, g, render_template, request, url_for

from webapp.engine import engine
from yadtq.core.yadtq_views import record_action

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask.typing import ResponseReturnValue

    from yadtq.core.yadtq_views import AuditEntry, WorkerInfo

pages = Blueprint("audit", __name__)

_ROWS = 50
_OF_TASKS = frozenset({"submit", "retry", "cancel", "delete", "resubmit", "detach"})
_PLACES = {"user": "users.index", "token": "tokens.index"}  # by the action's last word


def record(action: str, target: str, detail: str = "") -> None:
    """Note what the person or token of this request has just done.

    Args:
        action: a short verb, such as ``retry``, ``bulk cancel`` or ``login``.
        target: what it was done to: a task's id, a user's name, the text of a search.
        detail: how it went or what was given, in words.

    Raises:
        ResultStoreUnavailable
    """
    record_action(
        engine().store,
        user=g.get("user") or "",
        role=g.get("role") or "",
        action=action,
        target=target,
        detail=detail,
        address=request.remote_addr or "",
    )


@pages.get("/audit")
def index() -> ResponseReturnValue:
    """One page of the log, newest first."""
    cursor = request.args.get("cursor")
    asked = {name: request.args.get(name, "").strip() for name in ("user", "action", "target")}
    page = engine().views.audit(cursor, _ROWS, **asked)
    workers = engine().views.workers() if any(_of_worker(entry) for entry in page.items) else []
    known = {key: worker for worker in workers for key in (worker.name, worker.id)}
    entries = [(entry, *_shown(entry, known)) for entry in page.items]
    return render_template("audit.html", entries=entries, next=page.next, first=not cursor, asked=asked)


def _shown(entry: AuditEntry, workers: Mapping[str, WorkerInfo]) -> tuple[str, str | None]:
    """What an entry's target is called, and where to read more about it."""
    if entry.action in _OF_TASKS:
        return entry.target, url_for("tasks.show", task_id=entry.target)
    if _of_worker(entry) and entry.target in workers:
        worker = workers[entry.target]
        return worker.name, url_for("workers.show", worker_id=worker.id)
    place = _PLACES.get(entry.action.rpartition(" ")[2])
    return entry.target, url_for(place) if place else None


def _of_worker(entry: AuditEntry) -> bool:
    return entry.action.endswith(" worker")
