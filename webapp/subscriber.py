"""What one open websocket still has to be told: bounded, the latest of each row wins."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from webapp.turns import RESYNC

_ROWS_MAX = 500  # rows waiting for one socket; beyond, reading the page again is cheaper
_MESSAGE_MAX = 15_000  # characters of one message: a small frame is never torn by a ping in between


@dataclass(frozen=True)
class Row:
    """One task's row as the browser will show it."""

    id: str
    rev: int  # the change it shows; the browser drops what is older than it has
    html: str

    @cached_property
    def json(self) -> str:
        """Written once for all browsers."""
        return json.dumps({"id": self.id, "rev": self.rev, "html": self.html})


@dataclass(frozen=True)
class News:
    """What one round of the hub has for one list."""

    rows: Mapping[str, Row]
    gone: frozenset[str]  # shown rows whose tasks are no more
    more: int  # tasks that changed, are not shown, and were not drawn
    counts: Mapping[str, int]
    epoch: str
    seq: int  # up to which this is all; 0 where it does not tell


class Subscriber:
    """The hub puts in, the socket's own thread takes out."""

    def __init__(self, view: str, subject: str = "", secret: str = "") -> None:
        self.view = view
        self.subject = subject  # such as the task's id, on the page of one task
        self.secret = secret  # of the session it was opened with
        self.shows: frozenset[str] | None = None  # the rows it shows; None until it says so: it may show any
        self.wants_new = True  # whether tasks that it does not show may come in
        self.sending_since: float | None = None  # monotonic, while the socket blocks
        self.ended = False  # the hub serves it no longer: the page is to come again
        self.signed_out = False  # and will have to sign in first
        self._ready = threading.Condition()
        self._signals: dict[str, str] = {}  # word -> message
        self._rows: dict[str, Row] = {}
        self._gone: frozenset[str] = frozenset()
        self._more = self._seq = 0
        self._counts: Mapping[str, int] | None = None

    def news(self, news: News) -> None:
        """Rows have changed."""
        with self._ready:
            if RESYNC in self._signals:
                return  # it reads all of that anyway
            for row in news.rows.values():
                if row.rev >= self._rows.get(row.id, row).rev:
                    self._rows[row.id] = row
            self._gone |= news.gone
            self._more += news.more
            self._counts, self._seq = news.counts, max(news.seq, self._seq)
            if len(self._rows) + len(self._gone) > _ROWS_MAX:
                self._signal(RESYNC, {"seq": self._seq, "epoch": news.epoch})
            self._ready.notify()

    def signal(self, word: str, **more: Any) -> None:
        """Something without content: ``refresh``, ``resync``, ``tick``, ``down`` or ``up``."""
        with self._ready:
            self._signal(word, more)
            self._ready.notify()

    def end(self, *, signed_out: bool = False) -> None:
        """Let the page connect anew."""
        with self._ready:
            self.signed_out = signed_out
            self.ended = True
            self._ready.notify()

    def wake(self) -> None:
        """Let its thread look at what the browser has sent."""
        with self._ready:
            self._ready.notify()

    def take(self, timeout: float) -> list[str]:
        """The messages that wait, after at most so many seconds."""
        with self._ready:
            if not (self._signals or self._counts is not None or self.ended):
                self._ready.wait(timeout)
            messages = list(self._signals.values())
            if self._counts is not None:
                last: dict[str, Any] = {"counts": self._counts}
                last |= {"seq": self._seq} if self._seq else {}
                last |= {"gone": sorted(self._gone)} if self._gone else {}
                last |= {"more": self._more} if self._more else {}
                messages += _row_messages(self._rows.values(), json.dumps(last)[1:])
            self._signals = {}
            self._clear()
        return messages

    def blocked_for(self) -> float:
        """Seconds the socket has been waiting for a browser that does not read."""
        since = self.sending_since
        return 0.0 if since is None else time.monotonic() - since

    def _signal(self, word: str, more: dict[str, Any]) -> None:
        if word == RESYNC:
            self._clear()
        self._signals.pop(word, None)  # said once, and last
        self._signals[word] = json.dumps({"t": word, **more})

    def _clear(self) -> None:
        self._rows = {}
        self._gone = frozenset()
        self._more = self._seq = 0
        self._counts = None


def _row_messages(rows: Iterable[Row], last: str) -> list[str]:
    """Several small messages; only the last one moves the browser's position on."""
    messages: list[str] = []
    items: list[str] = []
    size = 0
    for row in rows:
        if items and size + len(row.json) > _MESSAGE_MAX:
            messages.append(f'{{"t": "rows", "items": [{", ".join(items)}]}}')
            items, size = [], 0
        items.append(row.json)
        size += len(row.json)
    messages.append(f'{{"t": "rows", "items": [{", ".join(items)}], {last}')
    return messages
