"""Errors as pages for people and as ``{"error": …}`` for programs, never as a traceback."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

from flask import render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, InternalServerError, SecurityError

from webapp.engine import engine
from webapp.wording import as_sentence
from yadtq.errors import (
    BrokerUnavailable,
    ConfigError,
    IllegalMove,
    InvalidQuery,
    PayloadTooLarge,
    RejectedRecord,
    ResultStoreUnavailable,
    ServerError,
    SubmitUncertain,
    TaskError,
    TaskNotFound,
    WorkerError,
    WorkerNotFound,
)

if TYPE_CHECKING:
    from flask import Flask
    from flask.typing import ResponseReturnValue

log = logging.getLogger(__name__)

_TITLES = {
    400: "That request cannot be used",
    403: "Not with your role",
    404: "There is no such page",
    405: "Not this way",
    413: "That is too large",
    500: "This page broke, your tasks did not",
}
_PLAIN = {"Content-Type": "text/plain; charset=utf-8"}
_OUTDATED = "The form is older than your sign-in: go back, reload the page and send it again."
_FAULT = "The log of the web has the details under {}. Workers are not touched by it; try again in a moment."
_NO_REDIS = {"away": "Redis is down", "full": "Redis is full", "refused": "Redis cannot be used"}

# How an error of the task queue reads in HTTP; the first class that fits counts.
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (TaskNotFound, 404),
    (WorkerNotFound, 404),
    (WorkerError, 409),  # it has not heard what was asked of it before
    (IllegalMove, 409),
    (PayloadTooLarge, 413),
    (TaskError, 400),
    (ConfigError, 400),  # an option of the submit that cannot be used
    (InvalidQuery, 400),
    (RejectedRecord, 409),  # a retry whose record in Kafka cannot be trusted
    (BrokerUnavailable, 503),
)


def init_app(app: Flask) -> None:
    """Answer every error in the form the caller can use."""
    app.register_error_handler(CSRFError, lambda _: _answer(400, _OUTDATED))
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(SecurityError, _foreign_host)
    app.register_error_handler(ResultStoreUnavailable, _redis_down)
    app.register_error_handler(TaskNotFound, _no_task)
    for kind, _ in _STATUS[1:]:
        app.register_error_handler(kind, _refused)


def sentence(error: Exception) -> str:
    """The error's message as a sentence."""
    return as_sentence(str(error))


def public_sentence(error: ServerError) -> str:
    """The error's message for anybody: without addresses."""
    return as_sentence(error.public)


def _http(error: HTTPException) -> ResponseReturnValue:
    if isinstance(error, InternalServerError):
        fault = f"fault-{secrets.token_hex(4)}"
        log.error("%s is the traceback above: %s %s", fault, request.method, request.path)  # Flask has written it
        return _answer(500, _FAULT.format(fault))
    return _answer(error.code or 500, error.description or "")


def _foreign_host(_: SecurityError) -> ResponseReturnValue:
    # No address can be built for a host that is not ours, so this is no page.
    return "This host name is not served here: set YADTQ_WEB_URL to the address people type.", 400, _PLAIN


def _refused(error: Exception) -> ResponseReturnValue:
    status = next(code for kind, code in _STATUS if isinstance(error, kind))
    return _answer(status, sentence(error))


def _no_task(error: TaskNotFound) -> ResponseReturnValue:
    asked = (request.view_args or {}).get("task_id", "")
    title = f"There is no task {asked[:40]}"
    return _answer(404, f"{sentence(error)} Check the id, or search for it.", title)


def _redis_down(error: ResultStoreUnavailable) -> ResponseReturnValue:
    """Whoever asks may be a stranger, since only Redis knows who is signed in: no address is told."""
    if error.kind != "full":  # that is no outage, and whoever submitted is told
        engine().redis_outage.down(str(error))
    title, task_id = _NO_REDIS[error.kind], ""
    if isinstance(error, SubmitUncertain):
        title, task_id = "Redis has not confirmed the task", error.task_id
    return _answer(503, public_sentence(error), title, task_id, redis_down=error.kind == "away")


def _answer(
    status: int, sentence: str, title: str = "", task_id: str = "", *, redis_down: bool = False
) -> ResponseReturnValue:
    if request.path.startswith(("/api/", "/metrics")):
        return {"error": sentence} | ({"id": task_id} if task_id else {}), status
    title = title or _TITLES.get(status, "That did not work")
    return render_template("error.html", status=status, title=title, sentence=sentence, redis_down=redis_down), status
