"""The headers every response carries: no foreign or inline code, no framing, nothing kept in caches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import request

from webapp.engine import engine
from webapp.exposure import allowed_origins

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flask import Flask, Response

_FIXED = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def init_app(app: Flask) -> None:
    """Set the headers after every request."""
    app.after_request(_harden)


def content_policy(origins: Iterable[str]) -> str:
    """The Content-Security-Policy; the websocket is named, since older Safari reads 'self' as http only."""
    # The policy's grammar has no IPv6 addresses; there 'self' has to do.
    sockets = sorted(origin.replace("http", "ws", 1) for origin in origins if "[" not in origin)
    connect = " ".join(["'self'", *sockets])
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"connect-src {connect}; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


def _harden(response: Response) -> Response:
    settings = engine().settings
    response.headers.update(_FIXED)
    response.headers["Content-Security-Policy"] = content_policy(allowed_origins(settings))
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    if (settings.web_url or "").startswith("https:"):
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    return response
