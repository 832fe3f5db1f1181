"""What one open websocket still has to be told: bounded, the latest of each row wins."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_ROWS_MAX = 500  # rows waiting for one socket; beyond, reading the page again is cheaper
_MESSAGE_MAX = 15_000  # bytes of one message: a small frame is never torn by a ping in between


@dataclass(frozen=True)
class Row:
    """One task's row as the browser will show it."""

    id: str
    rev: int  # the change it shows; the browser drops what is older than it has
    html: str


class Subscriber:
    """The hub puts in, the socket's own thread takes out."""

    def __init__(self, view: str, subject: str = "") -> None:
        self.view = view
        self.subject = subject  # the task's id, on the page of one task
        self.sending_since: float | None = None  # monotonic, while the socket blocks
        self._ready = threading.Condition()
        self._rows: dict[str, Row] = {}
        self._counts: dict[str, int] | None = None
        self._seq = 0
        self._signals: list[str] = []

    def rows(self, rows: Iterable[Row], counts: dict[str, int], seq: int) -> None:
        """Rows have changed."""
        with self._ready:
            if "resync" in self._signals:
                return
            for row in rows:
                if row.rev >= self._rows.get(row.id, row).rev:
                    self._rows[row.id] = row
            self._counts, self._seq = counts, max(seq, self._seq)
            if len(self._rows) > _ROWS_MAX:
                self._resync()
            self._ready.notify()

    def signal(self, word: str) -> None:
        """Something without content: ``refresh``, ``resync``, ``tick``, ``down`` or ``up``."""
        with self._ready:
            if word == "resync":
                self._resync()
            elif word not in self._signals:
                self._signals.append(word)
            self._ready.notify()

    def take(self, timeout: float) -> list[str]:
        """The messages that wait, after at most so many seconds."""
        with self._ready:
            if not (self._signals or self._counts):
                self._ready.wait(timeout)
            signals, rows, counts, seq = self._signals, self._rows, self._counts, self._seq
            self._signals, self._rows, self._counts = [], {}, None
        messages = [json.dumps({"t": word}) for word in signals]
        return messages + (_row_messages(rows.values(), counts, seq) if counts is not None else [])

    def blocked_for(self) -> float:
        """Seconds the socket has been waiting for a browser that does not read."""
        since = self.sending_since
        return 0.0 if since is None else time.monotonic() - since

    def _resync(self) -> None:
        self._rows, self._counts = {}, None
        self._signals = [word for word in self._signals if word != "resync"] + ["resync"]


def _row_messages(rows: Iterable[Row], counts: dict[str, int], seq: int) -> list[str]:
    """Several small messages; only the last one moves the browser's position on."""
    messages: list[str] = []
    items: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        if items and size + len(row.html) > _MESSAGE_MAX:
            messages.append(json.dumps({"t": "rows", "items": items}))
            items, size = [], 0
        items.append({"id": row.id, "rev": row.rev, "html": row.html})
        size += len(row.html)
    messages.append(json.dumps({"t": "rows", "items": items, "counts": counts, "seq": seq}))
    return messages
