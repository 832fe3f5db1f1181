"""The websocket: who may open one, how many there are, and how each one ends. All of flask-sock is here."""

from __future__ import annotations

import json
import logging
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from flask import Flask, abort, current_app, g, request, session
from flask_sock import Sock
from simple_websocket import ConnectionClosed

from webapp.concern import VIEWS
from webapp.drawing import drawer
from webapp.engine import engine
from webapp.exposure import allowed_origins
from webapp.live import Hub, shutting_down
from webapp.subscriber import Subscriber
from yadtq.errors import ResultStoreUnavailable

log = logging.getLogger(__name__)

ENDPOINT = "live.ws"
POLICY, RESTART, TRY_LATER, SIGN_IN = 1008, 1012, 1013, 4401  # close codes; app.js knows them

_WAIT = 0.5  # seconds between two looks at shutdown and input
_INPUT_MAX, _INPUT_SPAN = 20, 10.0  # messages a browser may send, and in how many seconds
_SHOWN_MAX, _ID_MAX = 500, 128  # rows a page may show, and characters of an id
_SEND_BUFFER = 64 * 1024  # bytes; Linux doubles it


class Inbox(list[Any]):
    """What a browser has sent and nobody has read yet: so many messages, further ones are dropped and noted."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake = wake
        self.overflowed = False

    def append(self, message: Any) -> None:
        """Called by the socket's reading thread."""
        if len(self) < _INPUT_MAX:
            super().append(message)
        else:
            self.overflowed = True
        self._wake()


class OneAtATime:
    """A socket on which two threads send whole frames: ours messages, simple-websocket's pings and pongs."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()

    def send(self, data: bytes) -> int:
        """All of it, though a full buffer lets only parts through at a time."""
        with self._lock:
            self._sock.sendall(data)
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


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
    app.extensions["yadtq-hub"] = Hub(app.extensions["yadtq"], drawer(app))
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
    subscriber = Subscriber(request.args["view"], request.args.get("subject", "")[:_ID_MAX], session["sid"])
    try:  # the browser may be gone at any moment, also before the first line
        _take_over(ws, subscriber)
        code, reason = _attend(hub, ws, subscriber)
        _send(subscriber, lambda: ws.close(code, reason))
    except (ConnectionClosed, OSError) as end:
        log.debug("websocket closed: %s", end)
    except Exception:
        log.exception("a websocket ended by a fault")
    finally:
        hub.leave(subscriber)


def _take_over(ws: Any, subscriber: Subscriber) -> None:
    """Put what holds the traps of a socket between simple-websocket and the line."""
    ws.sock = OneAtATime(ws.sock)
    inbox, early = Inbox(subscriber.wake), ws.input_buffer
    ws.input_buffer = inbox
    inbox[:0] = early  # what came before the exchange
    # What a browser does not read piles up here first, and is seen by the watchdog the sooner.
    ws.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)


def _attend(hub: Hub, ws: Any, subscriber: Subscriber) -> tuple[int, str]:
    """Have the hub serve it until somebody ends it; how it is to be closed."""
    since = request.args.get("since", 0, type=int)
    try:
        hub.join(subscriber, since, request.args.get("epoch", ""), lambda: _sever(ws))
        return _converse(ws, subscriber)
    except ResultStoreUnavailable:
        return TRY_LATER, "Redis does not answer"


def _converse(ws: Any, subscriber: Subscriber) -> tuple[int, str]:
    """Send what the hub has for it until somebody ends it; how it is to be closed."""
    heard: deque[float] = deque()
    while not (shutting_down.is_set() or subscriber.ended):
        for message in subscriber.take(_WAIT):
            _send(subscriber, lambda text=message: ws.send(text))  # type: ignore[misc]
        if not _listen(ws, subscriber, heard):
            return POLICY, "too many messages"
    return (SIGN_IN, "signed out") if subscriber.signed_out else (RESTART, "the server restarts")


def _send(subscriber: Subscriber, send: Callable[[], None]) -> None:
    subscriber.sending_since = time.monotonic()
    try:
        send()
    finally:
        subscriber.sending_since = None


def _listen(ws: Any, subscriber: Subscriber, heard: deque[float]) -> bool:
    """Take what the browser sent, or it would pile up; False when it sends too much."""
    while (text := ws.receive(timeout=0)) is not None:
        heard.append(time.monotonic())
        if len(heard) > _INPUT_MAX and heard.popleft() > time.monotonic() - _INPUT_SPAN:
            return False
        _understand(text, subscriber)
    return not ws.input_buffer.overflowed


def _understand(text: str | bytes, subscriber: Subscriber) -> None:
    """A list says which rows it shows, so that it is sent no others; whatever else is said means nothing."""
    try:
        said = json.loads(text)
        ids = [str(one)[:_ID_MAX] for one in said["shows"][:_SHOWN_MAX]]
        subscriber.wants_new, again = bool(said["new"]), bool(said.get("again"))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log.debug("a browser sent what means nothing: %s", error)
        return
    hub: Hub = current_app.extensions["yadtq-hub"]
    hub.show(subscriber, ids, again=again)


def _sever(ws: Any) -> None:
    """Wake a thread that is stuck in send(): only a shut socket does that. What it did not read is thrown away."""
    try:
        ws.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ws.sock.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        log.debug("the socket was gone already: %s", error)
