"""API tokens: which programs may use the JSON API. Admins make and revoke them here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for

from webapp.audit import record
from webapp.engine import engine
from webapp.errors import sentence
from yadtq.core.yadtq_accounts import LONGEST_DAYS, ROLES, validity
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
        days = _days(request.form.get("days", "").strip())
        token = engine().accounts.create_api_token(name, role, g.user, days)
    except (ConfigError, InvalidName) as refusal:
        return _page(problem=sentence(refusal), typed=request.form), 422
    record("make token", name, f"{role}, {validity(days)}")
    return _page(made=name, token_value=token, validity=validity(days))


@pages.post("/tokens/<name>/revoke")
def revoke(name: str) -> ResponseReturnValue:
    """Revoke a token; programs that use it are refused at once."""
    if engine().accounts.revoke_api_token(name):
        record("revoke token", name)
        flash(f"The token {name} is revoked.", "success")
    return redirect(url_for("tokens.index"), 303)


def _days(text: str) -> int | None:
    """As typed; nothing is for ever."""
    try:
        return int(text) if text else None
    except ValueError:
        raise ConfigError(f"“{text[:40]}” is not a whole number of days") from None


def _page(**shown: Any) -> str:
    found, setting = engine().accounts.api_tokens(), bool(engine().settings.api_token)
    words = {"typed": {}, "setting": setting, **shown}
    return render_template("tokens.html", tokens=found, roles=ROLES, longest=LONGEST_DAYS, **words)
