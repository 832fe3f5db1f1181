"""Live pages that many browsers read again at once: made once, for all who see the same.

What differs between people of one role (name, form tokens, messages) is left out of such a reading; app.js has it already.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import Response, before_render_template, g, request

from webapp.engine import engine

if TYPE_CHECKING:
    from flask import Flask

HEADER = "Live-Mark"  # "EPOCH SEQ": the reading must show at least this change

_FRESH = 0.5  # seconds a page may be older than the request it is handed to
_PATIENCE = 2.0  # seconds to wait for somebody else's page

Key = tuple[str, str]  # address, role


@dataclass(frozen=True)
class _Page:
    epoch: str
    seq: int
    made_at: float  # monotonic, when its making began
    body: bytes

    def serves(self, epoch: str, seq: int, asked_at: float) -> bool:
        # By when it was asked for: whoever waits for a slow page would else find it too old and make another.
        return self.epoch == epoch and self.seq >= seq and self.made_at >= asked_at - _FRESH


class Shelf:
    """The newest pages of this process."""

    def __init__(self) -> None:
        self._pages: dict[Key, _Page] = {}
        self._making: set[Key] = set()
        self._moved = threading.Condition()

    def take(self, key: Key, epoch: str, seq: int) -> bytes | None:
        """The page, perhaps once another request has made it; None when the caller is to make it, and then to ``put`` it."""
        now = time.monotonic()
        deadline = now + _PATIENCE
        with self._moved:
            while True:
                page = self._pages.get(key)
                if page is not None and page.serves(epoch, seq, now):
                    return page.body
                left = deadline - time.monotonic()
                if key not in self._making or left <= 0:
                    self._making.add(key)
                    return None
                self._moved.wait(left)

    def put(self, key: Key, page: _Page | None) -> None:
        """What was made, or None where it is not for others."""
        with self._moved:
            old = time.monotonic() - _FRESH - _PATIENCE
            self._pages = {k: kept for k, kept in self._pages.items() if kept.made_at > old}
            if page is not None:
                self._pages[key] = page
            self._making.discard(key)
            self._moved.notify_all()


def init_app(app: Flask) -> None:
    """Serve readings from the shelf; to be called after the gate of access.py."""
    shelf = Shelf()

    def look() -> Response | None:
        epoch, _, seq = request.headers.get(HEADER, "").partition(" ")
        if request.method != "GET" or g.get("role") is None or not seq.isdecimal():
            return None
        g.reading = True
        key = request.full_path, g.role
        found = shelf.take(key, epoch, int(seq))
        if found is not None:
            return Response(found, mimetype="text/html")
        g.making = key
        mark = engine().views.change_mark()  # before the page reads anything
        g.made = _Page(mark.epoch, mark.seq, time.monotonic(), b"")
        return None

    def keep(response: Response) -> Response:
        if "made" in g and g.get("live_page") and response.status_code == 200:
            page = _Page(g.made.epoch, g.made.seq, g.made.made_at, response.get_data())
            shelf.put(g.pop("making"), page)
        return response

    def give_up(_: BaseException | None) -> None:
        if "making" in g:
            shelf.put(g.pop("making"), None)

    app.before_request(look)
    app.after_request(keep)
    app.teardown_request(give_up)
    app.context_processor(lambda: {"reading": g.get("reading", False)})
    before_render_template.connect(_note_page, app, weak=False)
    _leave_out_tokens(app)


def _note_page(_: Flask, context: dict[str, Any], **__: Any) -> None:
    g.live_page = "mark" in context


def _leave_out_tokens(app: Flask) -> None:
    make: Any = app.jinja_env.globals["csrf_token"]
    app.jinja_env.globals["csrf_token"] = lambda: "" if g.get("reading") else make()
