"""Signing in and out: by password, by one-time link; and the theme cookie."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from flask import Blueprint, current_app, g, make_response, redirect, render_template, request, session, url_for
from flask_wtf.csrf import CSRFProtect
from werkzeug.security import check_password_hash, generate_password_hash

from webapp.access import relative_target
from webapp.audit import record
from webapp.engine import engine
from webapp.exposure import SESSION_TTL
from yadtq.core.yadtq_accounts import check_password

if TYPE_CHECKING:
    from flask import Flask
    from flask.typing import ResponseReturnValue

    from yadtq.core.yadtq_accounts import User

pages = Blueprint("auth", __name__)
log = logging.getLogger(__name__)
csrf = CSRFProtect()

_WINDOW = 300.0  # seconds over which tries that fail are counted
_TRIES_PER_NAME = 5  # of one name from one address
_TRIES_PER_ADDRESS = 60

_WRONG = "Name or password is wrong."
TOO_MANY = "Too many tries: wait 5 minutes, then try again."
_USED = "This link was used before or has expired: `yadtq up` prints a fresh one when it starts."


def init_app(app: Flask) -> None:
    """Demand a CSRF token with every form."""
    csrf.init_app(app)


def hash_password(password: str) -> str:
    """What is kept of a password; raises ConfigError where it is too short."""
    return generate_password_hash(check_password(password), method="scrypt")


# Checked when the name is unknown, so that the answer takes as long as for a known one.
_NOBODY = hash_password("nobody has this password")


@pages.get("/login")
def login_page() -> ResponseReturnValue:
    """The sign-in form; with ``token`` a page whose button redeems it, since a GET must change nothing."""
    return _page(token=request.args.get("token"))


@pages.post("/login")
def login() -> ResponseReturnValue:
    """Sign in with name and password."""
    name, password = request.form.get("name", ""), request.form.get("password", "")
    if not may_try(name):
        return _page(TOO_MANY, name=name), 429
    user = engine().accounts.user(name)
    right = check_password_hash(user.password_hash if user else _NOBODY, password)
    if user is None or not right:
        log.warning("a sign-in as %r from %s was refused", name[:128], request.remote_addr)
        return _page(_WRONG, name=name), 401
    was_right(name)
    return _start(user, "by password")


@pages.post("/login/link")
def redeem() -> ResponseReturnValue:
    """Sign in with a one-time link."""
    accounts, bucket = engine().accounts, f"link:{_address()}"
    # No token can be guessed; this only keeps the noise down.
    if not accounts.allow_attempt(bucket, _TRIES_PER_ADDRESS, _WINDOW):
        return _page(TOO_MANY), 429
    found = accounts.redeem_login_link(request.form.get("token", ""))
    if found is None:
        return _page(_USED), 401
    accounts.give_back_attempt(bucket)
    return _start(found, "by link")


@pages.post("/logout")
def logout() -> ResponseReturnValue:
    """Sign out, in Redis as well, so that a copied cookie is worth nothing."""
    engine().accounts.end_session(session.get("sid", ""))
    record("logout", g.user)
    session.clear()
    return redirect(url_for("auth.login_page"), 303)


@pages.post("/theme")
def theme() -> ResponseReturnValue:
    """Remember light or dark where no script does it."""
    chosen = "light" if request.cookies.get("theme") == "dark" else "dark"
    response = make_response(redirect(relative_target(request.form.get("next")), 303))
    response.set_cookie(
        "theme", chosen, max_age=365 * 86_400, samesite="Lax", secure=current_app.config["SESSION_COOKIE_SECURE"]
    )
    return response


def may_try(name: str) -> bool:
    """Whether one more password may be tried for this name from this address; counts it as one that fails.

    It is counted before it is looked at, so that tries at the same time are not one. Of a name that is refused no more is
    counted for the address, which may be a proxy's and so everybody's.
    """
    allow = engine().accounts.allow_attempt
    of_name, of_address = _buckets(name)
    return allow(of_name, _TRIES_PER_NAME, _WINDOW) and allow(of_address, _TRIES_PER_ADDRESS, _WINDOW)


def was_right(name: str) -> None:
    """The password was right: the try that :func:`may_try` allowed is not counted."""
    engine().accounts.give_back_attempt(*_buckets(name))


def _buckets(name: str) -> tuple[str, str]:
    return f"login:{_address()}:{name[:128]}", f"login:{_address()}"


def _address() -> str:
    return request.remote_addr or "unknown"


def start_session(user: User) -> None:
    """From here on this browser is the user's."""
    session.clear()  # a cookie planted before the sign-in must not survive it
    session.permanent = True
    address, agent = request.remote_addr or "", request.user_agent.string
    session["sid"] = engine().accounts.create_session(user, SESSION_TTL, address, agent)
    g.user, g.role = user.name, user.role


def _start(user: User, how: str) -> ResponseReturnValue:
    start_session(user)
    record("login", user.name, how)
    return redirect(relative_target(request.form.get("next")), 303)


def _page(error: str | None = None, name: str = "", token: str | None = None) -> str:
    target = request.values.get("next", "")
    return render_template("login.html", error=error, name=name, token_value=token, target=target)
