"""Probes for load balancers: does the process live, and can it serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint

from webapp.engine import engine
from yadtq.errors import ResultStoreUnavailable

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

pages = Blueprint("health", __name__)


@pages.get("/healthz")
def healthz() -> ResponseReturnValue:
    """Always 200 while the process answers: a restart would not bring Redis back."""
    return {"status": "alive"}


@pages.get("/readyz")
def readyz() -> ResponseReturnValue:
    """200 while Redis answers, else 503 with the reason in one sentence."""
    try:
        engine().views.server_time()
    except ResultStoreUnavailable:
        return {"error": "Redis does not answer; the log says at which address."}, 503
    return {"status": "ready"}
