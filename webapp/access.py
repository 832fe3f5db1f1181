"""Who may do what: one gate before every request, one table of routes and roles, deny by default."""

from __future__ import annotations

import hmac
from datetime import datetime, timezone
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import abort, g, redirect, request, session, url_for

from webapp.engine import engine

if TYPE_CHECKING:
    from flask import Flask
    from flask.typing import ResponseReturnValue

RANKS = {"viewer": 1, "operator": 2, "admin": 3}

# Served to anybody, and without a look at Redis.
OPEN = frozenset({"static", "health.healthz", "health.readyz", "auth.login_page", "auth.login", "auth.redeem"})

# The least role each route needs. A route that is not listed is refused to everybody.
ROLES = {
    "again.form": "operator",
    "again.send": "operator",
    "audit.index": "admin",
    "auth.logout": "viewer",
    "auth.theme": "viewer",
    "metrics.metrics": "viewer",
    "password.form": "viewer",
    "password.change": "viewer",
    "failed.count": "viewer",
    "failed.index": "viewer",
    "failed.rejected": "viewer",
    "kafka.index": "viewer",
    "kafka.detach": "operator",
    "sessions.index": "viewer",
    "sessions.end": "viewer",
    "sessions.end_all": "viewer",
    "tokens.index": "admin",
    "tokens.make": "admin",
    "tokens.revoke": "admin",
    "users.index": "admin",
    "users.add": "admin",
    "users.change": "admin",
    "users.delete": "admin",
    "views.overview": "viewer",
    "workers.index": "viewer",
    "workers.show": "viewer",
    "workers.dismiss": "operator",
    "workers.pause": "operator",
    "workers.resume": "operator",
    "workers.shut_down": "admin",
    "bulk.confirm": "operator",
    "bulk.start": "operator",
    "bulk.show": "viewer",
    "bulk.stop": "operator",
    "submit.form": "operator",
    "submit.send": "operator",
    "submit.done": "operator",
    "tasks.index": "viewer",
    "tasks.show": "viewer",
    "tasks.retry": "operator",
    "tasks.cancel": "operator",
    "tasks.delete": "operator",
    "live.ws": "viewer",
    "api.audit": "admin",
    "api.bulk": "operator",
    "api.cancel": "operator",
    "api.count": "viewer",
    "api.delete": "operator",
    "api.detach": "operator",
    "api.failure": "viewer",
    "api.failures": "viewer",
    "api.functions": "viewer",
    "api.job": "viewer",
    "api.kafka": "viewer",
    "api.openapi": "viewer",
    "api.pause_worker": "operator",
    "api.queues": "viewer",
    "api.rates": "viewer",
    "api.rejected": "viewer",
    "api.replay": "operator",
    "api.resubmit": "operator",
    "api.resume_worker": "operator",
    "api.retry": "operator",
    "api.shut_down_worker": "admin",
    "api.start_job": "operator",
    "api.stats": "viewer",
    "api.stop_job": "operator",
    "api.submit": "operator",
    "api.suggestions": "viewer",
    "api.task": "viewer",
    "api.tasks": "viewer",
    "api.worker": "viewer",
    "api.workers": "viewer",
}

# What even a read-only web lets a person change: nothing but the own sign-ins, and what they are made with.
PERSONAL = frozenset({"sessions.end", "sessions.end_all", "password.change", "auth.logout", "auth.theme"})

READ_ONLY = "This dashboard is read-only: it shows everything and changes nothing (YADTQ_READ_ONLY)."

TOKENS = frozenset({"api", "metrics"})  # blueprints that a bearer token opens
_NEW_TOKEN = "an admin makes one on the page API tokens, or by `yadtq token add`."  # noqa: S105

_SAFE = ("GET", "HEAD", "OPTIONS")


def init_app(app: Flask) -> None:
    """Put the gate before everything else."""
    app.before_request(_gate)


def allows(role: str | None, needed: str) -> bool:
    """Whether a role covers what is needed."""
    return RANKS.get(role or "", 0) >= RANKS[needed]


def relative_target(target: str | None) -> str:
    """Where to go after a form: a path on this site, with one leading slash, else the overview."""
    if target and target[0] == "/" and target[1:2] not in ("/", "\\"):
        parts = urlsplit(target)
        if not parts.scheme and not parts.netloc and target.isprintable():
            return target
    return url_for("views.overview")


def _gate() -> ResponseReturnValue | None:
    g.user = g.role = g.expired = None
    if request.method not in _SAFE and request.headers.get("Sec-Fetch-Site") == "cross-site":
        abort(403, "This request came from another site; send it from these pages.")
    if request.endpoint in OPEN:
        return None
    _identify()
    if request.endpoint is None:
        return None  # no such page: the 404 page, with the menu for those who are signed in
    return _admit(ROLES.get(request.endpoint))


def _identify() -> None:
    if request.blueprint in TOKENS and "Authorization" in request.headers:
        g.user, g.role = _bearer(request.headers["Authorization"])
        return
    if request.blueprint == "api" and request.method not in _SAFE:
        return  # a cookie travels with forged requests too: changing something takes a token
    sid = session.get("sid")
    found = engine().accounts.session(sid) if sid else None
    if found is not None:
        g.user, g.role = found.user, found.role


def _bearer(header: str) -> tuple[str | None, str | None]:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token:
        return None, None
    shared = engine().settings.api_token
    if shared and hmac.compare_digest(token.encode(), shared.encode()):
        return "the token of YADTQ_API_TOKEN", "admin"
    found = engine().accounts.use_api_token(token)
    if found is not None and found.expired:
        g.expired, found = found, None
    return (f"token {found.name}", found.role) if found else (None, None)


def _admit(needed: str | None) -> ResponseReturnValue | None:
    if g.role is None:
        return _ask_to_sign_in()
    if needed is None:
        abort(403, "No role may use this address.")
    if not allows(g.role, needed):
        abort(403, f"You are signed in as {g.user}, a {g.role}; this takes the role {needed}.")
    if engine().settings.read_only and _changes(needed):
        abort(403, READ_ONLY)
    return None


def _changes(needed: str) -> bool:
    """Whether the request changes something, or is a form of which the only use is to do so."""
    return request.endpoint not in PERSONAL and (request.method not in _SAFE or needed == "operator")


def _ask_to_sign_in() -> ResponseReturnValue:
    if request.blueprint in TOKENS:
        sentence = f"Send `Authorization: Bearer TOKEN`; {_NEW_TOKEN}"
        if g.expired:
            expired_at = datetime.fromtimestamp(g.expired.expires_at, timezone.utc)
            sentence = f"The token {g.expired.name} expired on {expired_at:%Y-%m-%d at %H:%M} UTC; {_NEW_TOKEN}"
        return {"error": sentence}, 401, {"WWW-Authenticate": "Bearer"}
    if request.endpoint == "live.ws":
        abort(401)
    target = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url_for("auth.login_page", next=target), 303)
