"""The audit log's one way in: who changed what, from where."""

from __future__ import annotations

from flask import g, request

from webapp.engine import engine
from yadtq.core.yadtq_views import record_action


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
