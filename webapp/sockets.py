"""The websocket: who may open one, how many there are, and how each one ends. All of flask-sock is here."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, abort, current_app, g, render_template, request, session
from flask_sock import Sock
from simple_websocket import ConnectionClosed

from webapp.engine import engine
from webapp.exposure import allowed_origins
from webapp.live import Hub, shutting_down
from webapp.subscriber import Row, Subscriber
from yadtq.errors import ResultStoreUnavailable

if TYPE_CHECKING:
    from webapp.engine import Engine
    from yadtq.core.yadtq_task import TaskResult

log = logging.getLogger(__name__)

ENDPOINT = "live.ws"
VIEWS = ("tasks", "task", "overview", "workers", "kafka", "failed")

POLICY, RESTART, TRY_LATER, SIGN_IN = 1008, 1012, 1013, 4401  # close codes; app.js knows them

_WAIT = 0.5  # seconds between two looks at shutdown, input and session
_REVALIDATE = 60.0  # seconds a revoked session may keep its socket
_INPUT_MAX, _INPUT_SPAN = 20, 10.0  # messages a browser may send, and in how many seconds


class Slots:
    """The sockets this process may hold at once; each takes a thread from the pages."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Whether there was one left."""
        with self._lock:
            if self.taken >= self.limit:
                return False
            self.taken += 1
            return True

    def give_back(self) -> None:
        """One is free again."""
        with self._lock:
            self.taken -= 1


def init_app(app: Flask) -> None:
    """Add the route, its gate and the hub behind it."""
    app.config.setdefault("YADTQ_SOCKETS", 72)  # gunicorn's 96 threads less 24 for pages
    app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": 25, "max_message_size": 16_384}
    engine: Engine = app.extensions["yadtq"]
    app.extensions["yadtq-hub"] = Hub(engine, lambda tasks: _render(app, tasks))
    app.extensions["yadtq-slots"] = Slots(app.config["YADTQ_SOCKETS"])
    app.before_request(_gate)
    app.teardown_request(_release)
    Sock(app).route("/ws", endpoint=ENDPOINT)(_serve)


def _gate() -> None:
    """Refuse before the handshake, which no view can precede; access.py has checked session and role."""
    if request.endpoint != ENDPOINT:
        return
    if request.headers.get("Origin", "").lower() not in allowed_origins(engine().settings):
        abort(403, "The websocket is only for the pages of this site.")
    if request.args.get("view") not in VIEWS:
        abort(400, f"The view must be one of {', '.join(VIEWS)}.")
    if shutting_down.is_set() or not _slots().take():
        abort(503, "All live connections of this process are in use; the page asks every 2 seconds instead.")
    g.socket_slot = True
    # Compression costs more processor time than it saves bytes, and invites inflate bombs.
    request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)


def _release(_: BaseException | None) -> None:
    if g.pop("socket_slot", False):
        _slots().give_back()


def _slots() -> Slots:
    found: Slots = current_app.extensions["yadtq-slots"]
    return found


def _serve(ws: Any) -> None:
    """One socket from handshake to close, in a thread of its own."""
    hub: Hub = current_app.extensions["yadtq-hub"]
    subscriber = Subscriber(request.args["view"], request.args.get("subject", ""))
    since = request.args.get("since", 0, type=int)
    try:
        hub.join(subscriber, since, request.args.get("epoch", ""), lambda: _sever(ws))
        _converse(ws, subscriber)
    except ResultStoreUnavailable:
        ws.close(TRY_LATER, "Redis does not answer")
    except (ConnectionClosed, OSError) as end:
        log.debug("websocket closed: %s", end)
    except Exception:
        log.exception("a websocket ended by a fault")
    finally:
        hub.leave(subscriber)


def _converse(ws: Any, subscriber: Subscriber) -> None:
    """Send what the hub has for it until somebody ends it."""
    heard: deque[float] = deque()
    checked = time.monotonic()
    while not shutting_down.is_set():
        for message in subscriber.take(_WAIT):
            _send(ws, subscriber, message)
        if not _drain(ws, heard):
            ws.close(POLICY, "too many messages")
            return
        if time.monotonic() - checked > _REVALIDATE:
            checked = time.monotonic()
            if not _still_signed_in():
                ws.close(SIGN_IN, "signed out")
                return
    ws.close(RESTART, "the server restarts")


def _send(ws: Any, subscriber: Subscriber, message: str) -> None:
    subscriber.sending_since = time.monotonic()
    try:
        ws.send(message)
    finally:
        subscriber.sending_since = None


def _drain(ws: Any, heard: deque[float]) -> bool:
    """Read and drop what the browser sent, or it would pile up; False when it sends too much."""
    while ws.receive(timeout=0) is not None:
        heard.append(time.monotonic())
        if len(heard) > _INPUT_MAX and heard.popleft() > time.monotonic() - _INPUT_SPAN:
            return False
    return True


def _still_signed_in() -> bool:
    try:
        return engine().accounts.session(session.get("sid", "")) is not None
    except ResultStoreUnavailable:
        return True  # asked again in a minute; Redis gone shows nothing new anyway


def _sever(ws: Any) -> None:
    """Wake a thread that is stuck in send(): only a shut socket does that."""
    try:
        ws.sock.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        log.debug("the socket was gone already: %s", error)


def _render(app: Flask, tasks: Iterable[TaskResult]) -> list[Row]:
    """Each task's row, exactly as the page draws it."""
    with app.test_request_context():
        return [Row(task.id, task.seq, render_template("_row.html", task=task)) for task in tasks]
