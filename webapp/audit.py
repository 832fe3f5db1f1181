"""The audit log: who changed what, from where. One way in, and its page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, g, render_template, request, url_for

from webapp.engine import engine
from yadtq.core.yadtq_views import record_action

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

pages = Blueprint("audit", __name__)

_ROWS = 50
_OF_TASKS = frozenset({"submit", "retry", "cancel", "delete", "resubmit"})
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
    page = engine().views.audit(cursor, _ROWS)
    entries = [(entry, _link(entry.action, entry.target)) for entry in page.items]
    return render_template("audit.html", entries=entries, next=page.next, first=not cursor)


def _link(action: str, target: str) -> str | None:
    """Where to read more about what was changed."""
    if action in _OF_TASKS:
        return url_for("tasks.show", task_id=target)
    place = _PLACES.get(action.rpartition(" ")[2])
    return url_for(place) if place else None
