"""One's own password: changed on a page of its own by whoever knows it, which ends the sessions of other browsers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from werkzeug.security import check_password_hash

from webapp.audit import record
from webapp.auth import TOO_MANY, hash_password, may_try, start_session, was_right
from webapp.engine import engine
from webapp.errors import sentence
from webapp.forms import Field
from yadtq.core.yadtq_accounts import SHORTEST_PASSWORD, check_password
from yadtq.errors import ConfigError

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

pages = Blueprint("password", __name__)
log = logging.getLogger(__name__)


@pages.get("/password")
def form() -> ResponseReturnValue:
    """The form; for who came by a link and has no password, why there is none."""
    return _page(_fields(), has_password=engine().accounts.user(g.user) is not None)


@pages.post("/password")
def change() -> ResponseReturnValue:
    """Change it: this browser stays signed in, with a new session."""
    user, fields = engine().accounts.user(g.user), _fields()
    if user is None or not _filled_in(fields):
        return _page(fields, has_password=user is not None), 422
    if not may_try(user.name):
        return _page(fields, TOO_MANY), 429
    if not check_password_hash(user.password_hash, request.form["current"]):
        log.warning("a change of the password of %r from %s was refused", user.name, request.remote_addr)
        fields["current"].error = "This is not your password."
        return _page(fields), 422
    was_right(user.name)
    changed = engine().accounts.change_password(user, hash_password(request.form["new"]))
    if changed is None:  # by an admin at the same moment, who ended this session too
        return redirect(url_for("password.form"), 303)
    start_session(changed)
    record("change password", user.name)
    flash("Your password is changed. Other browsers have to sign in again.", "success")
    return redirect(url_for("sessions.index"), 303)


def _fields() -> dict[str, Field]:
    return {
        "current": Field("current", "Current password"),
        "new": Field("new", "New password", help=f"{SHORTEST_PASSWORD} characters or more."),
        "again": Field("again", "New password, again"),
    }


def _filled_in(fields: dict[str, Field]) -> bool:
    """Whether all is there but the proof; what is wrong is in the fields. Nothing here is worth a try at the password."""
    given = {name: request.form.get(name, "") for name in fields}
    if not given["current"]:
        fields["current"].error = "It needs a value."
    try:
        check_password(given["new"])
    except ConfigError as refusal:
        fields["new"].error = sentence(refusal)
    if given["again"] != given["new"]:
        fields["again"].error = "It differs from the new password."
    return not any(one.error for one in fields.values())


def _page(fields: dict[str, Field], problem: str = "", *, has_password: bool = True) -> str:
    wrong = [one for one in fields.values() if one.error]
    return render_template(
        "password.html", fields=fields.values(), wrong=wrong, problem=problem, has_password=has_password
    )
