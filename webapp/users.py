"""Users: who may sign in by name and password. Admins add, change and delete them here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, flash, g, redirect, render_template, request, url_for

from webapp.audit import record
from webapp.auth import hash_password
from webapp.engine import engine
from webapp.errors import sentence
from yadtq.core.yadtq_accounts import ROLES
from yadtq.errors import ConfigError, InvalidName

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

pages = Blueprint("users", __name__)


@pages.get("/users")
def index() -> ResponseReturnValue:
    """All users, each with its role, and a form for a new one."""
    return _page()


@pages.post("/users")
def add() -> ResponseReturnValue:
    """Add a user; a name that is taken is refused, since adding would replace that user."""
    name, role = request.form.get("name", "").strip(), request.form.get("role", "")
    try:
        if engine().accounts.user(name) is not None:
            raise ConfigError(f"there is a user named {name} already; change it in its row")
        engine().accounts.add_user(name, _new_password(), role)
    except (ConfigError, InvalidName) as refusal:
        return _page(sentence(refusal), name, role), 422
    record("add user", name, role)
    flash(f"{name} can sign in as {role}.", "success")
    return redirect(url_for("users.index"), 303)


@pages.post("/users/<name>")
def change(name: str) -> ResponseReturnValue:
    """Give a user another role, or another password; the user has to sign in again."""
    role, given = request.form.get("role", ""), bool(request.form.get("password"))
    try:
        if name == g.user and role != g.role:
            raise ConfigError("your own role is changed by another admin, so that one always remains")
        engine().accounts.change_user(name, role=role, password_hash=_new_password() if given else None)
    except ConfigError as refusal:
        return _page(sentence(refusal)), 422
    record("change user", name, f"{role}, new password" if given else role)
    flash(f"{name} is {role} now, and has to sign in again.", "success")
    return redirect(url_for("users.index"), 303)


@pages.post("/users/<name>/delete")
def delete(name: str) -> ResponseReturnValue:
    """Delete a user, who is signed out at once."""
    if name == g.user:
        return _page("You are deleted by another admin, so that one always remains."), 422
    if engine().accounts.delete_user(name):
        record("delete user", name)
        flash(f"{name} is deleted and signed out.", "success")
    return redirect(url_for("users.index"), 303)


def _new_password() -> str:
    return hash_password(request.form.get("password", ""))


def _page(problem: str = "", name: str = "", role: str = "viewer") -> str:
    found = engine().accounts.users()
    return render_template("users.html", users=found, roles=ROLES, problem=problem, name=name, chosen=role)
