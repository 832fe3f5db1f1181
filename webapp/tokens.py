"""API tokens: which programs may use the JSON API. Admins make and revoke them here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, flash, g, redirect, render_template, request, url_for

from webapp.audit import record
from webapp.engine import engine
from webapp.errors import sentence
from yadtq.core.yadtq_accounts import ROLES
from yadtq.errors import ConfigError, InvalidName

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

pages = Blueprint("tokens", __name__)


@pages.get("/tokens")
def index() -> ResponseReturnValue:
    """All API tokens, without what they are."""
    return _page()


@pages.post("/tokens")
def make() -> ResponseReturnValue:
    """Make a token and show it, this once."""
    name, role = request.form.get("name", "").strip(), request.form.get("role", "")
    try:
        token = engine().accounts.create_api_token(name, role, g.user)
    except (ConfigError, InvalidName) as refusal:
        return _page(sentence(refusal), name, role), 422
    record("make token", name, role)
    return _page(made=name, token_value=token)


@pages.post("/tokens/<name>/revoke")
def revoke(name: str) -> ResponseReturnValue:
    """Revoke a token; programs that use it are refused at once."""
    if engine().accounts.revoke_api_token(name):
        record("revoke token", name)
        flash(f"The token {name} is revoked.", "success")
    return redirect(url_for("tokens.index"), 303)


def _page(problem: str = "", name: str = "", role: str = "viewer", made: str = "", token_value: str = "") -> str:
    found = engine().accounts.api_tokens()
    return render_template(
        "tokens.html",
        tokens=found,
        roles=ROLES,
        problem=problem,
        name=name,
        chosen=role,
        made=made,
        token_value=token_value,
    )
