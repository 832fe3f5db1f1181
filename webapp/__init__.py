"""The admin pages, the JSON API and the live websocket: ``create_app`` wires them into one Flask app."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from webapp import (
    access,
    again,
    api,
    audit,
    auth,
    bulk,
    display,
    errors,
    failed,
    headers,
    health,
    jsontree,
    kafka,
    menu,
    metrics,
    password,
    sessions,
    shelf,
    sockets,
    spans,
    starting,
    submit,
    tasks,
    tokens,
    users,
    views,
    workers,
)
from webapp.engine import Engine, open_engine
from webapp.exposure import check_exposure, cookie_settings

if TYPE_CHECKING:
    from yadtq.config import Settings

__all__ = ["create_app"]


def create_app(settings: Settings | None = None, **overrides: Any) -> Flask:
    """The web application; every setting comes from ``settings``, or from ``YADTQ_*`` and ``overrides``.

    Raises:
        ConfigError: it would be open to other machines without users, a secret key or an address.
    """
    engine = open_engine(settings, overrides)
    check_exposure(engine)
    app = Flask(__name__, template_folder=_folder("templates"), static_folder=_folder("static"))
    app.config.update(cookie_settings(engine), MAX_CONTENT_LENGTH=1 << 20)
    _wire(app, engine)
    if engine.settings.web_proxies:  # whom the throttle counts and the audit log names is then the visitor
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=engine.settings.web_proxies, x_proto=0)  # type: ignore[method-assign]
    return app


def _folder(name: str) -> str:
    """Beside this file in an installed wheel, one level up in the repository."""
    here = Path(__file__).parent
    inside = here / name
    return str(inside if inside.is_dir() else here.parent / name)


def _wire(app: Flask, engine: Engine) -> None:
    app.extensions["yadtq"] = engine
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    app.jinja_env.globals["alarms"] = engine.alarms.current
    display.init_app(app)
    starting.init_app(app)
    jsontree.init_app(app)
    spans.init_app(app)
    menu.init_app(app)
    errors.init_app(app)
    headers.init_app(app)
    access.init_app(app)  # before CSRF: who is not signed in is asked to sign in, not told of a token
    auth.init_app(app)
    shelf.init_app(app)
    sockets.init_app(app)
    bulk.init_app(app)
    kafka.init_app(app)
    for blueprint in (
        health.pages,
        auth.pages,
        users.pages,
        tokens.pages,
        sessions.pages,
        password.pages,
        audit.pages,
        views.pages,
        tasks.pages,
        bulk.pages,
        failed.pages,
        workers.pages,
        kafka.pages,
        again.pages,
        submit.pages,
        api.routes,
        metrics.pages,
    ):
        app.register_blueprint(blueprint)
