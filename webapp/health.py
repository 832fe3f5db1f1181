"""Probes for load balancers: does the process live, and can it serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint

from webapp.engine import engine
from webapp.errors import public_sentence
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
    """200 while Redis answers, also without Kafka, since submits are accepted; else 503 with the reason in one sentence."""
    try:
        alarms = engine().alarms.current()
    except ResultStoreUnavailable as error:
        return {"error": public_sentence(error)}, 503
    return {"status": "ready", "alarms": [alarm.name for alarm in alarms]}
