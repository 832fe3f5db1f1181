"""Sessions: where one is signed in, and signing out there. An admin sees and ends everybody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, abort, flash, g, redirect, render_template, request, session, url_for

from webapp.access import allows
from webapp.audit import record
from webapp.engine import engine

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

pages = Blueprint("sessions", __name__)

# What a browser's long name tells people; the first word that occurs counts.
_BROWSERS = {"Edg/": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome", "Safari/": "Safari"}
_SYSTEMS = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Windows": "Windows",
    "Mac OS": "macOS",
    "Linux": "Linux",
}


@pages.get("/sessions")
def index() -> ResponseReturnValue:
    """Where one is signed in; for an admin, where everybody is."""
    found = engine().accounts.sessions(None if allows(g.role, "admin") else g.user)
    present = engine().accounts.session(session["sid"])
    return render_template("sessions.html", sessions=found, present=present.id if present else "", browser=browser)


def browser(agent: str) -> str:
    """The browser and its system in short; its own words where they are none that is known."""
    name = next((short for word, short in _BROWSERS.items() if word in agent), "")
    system = next((short for word, short in _SYSTEMS.items() if word in agent), "")
    return f"{name} on {system}" if name and system else name or agent


@pages.post("/sessions/<session_id>/end")
def end(session_id: str) -> ResponseReturnValue:
    """Sign one browser out."""
    ended = engine().accounts.end_session_of(None if allows(g.role, "admin") else g.user, session_id)
    if ended is not None:
        record("end session", ended.user)
        flash(f"{ended.user} is signed out there.", "success")
    return redirect(url_for("sessions.index"), 303)


@pages.post("/sessions/end")
def end_all() -> ResponseReturnValue:
    """Sign oneself, or as an admin anybody, out everywhere."""
    user = request.form.get("user") or g.user
    if user != g.user and not allows(g.role, "admin"):
        abort(403, "Only an admin may sign others out.")
    count = engine().accounts.end_sessions(user)
    record("sign out everywhere", user, f"{count} sessions")
    flash(f"{user} is signed out everywhere.", "success")
    return redirect(url_for("sessions.index"), 303)
