"""The hub: one thread per process that sees what changed in Redis and tells every open page.

A notification only wakes it. What changed it reads from Redis, from where it stood, so a lost
notification, a reconnect and plain polling are one code path.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from webapp.subscriber import Row, Subscriber
from yadtq.errors import ResultStoreUnavailable

if TYPE_CHECKING:
    from webapp.alarms import Alarm
    from webapp.engine import Engine
    from yadtq.core.yadtq_task import TaskResult
    from yadtq.core.yadtq_views import Changes, Watcher

    Renderer = Callable[[Iterable[TaskResult]], list[Row]]

log = logging.getLogger(__name__)

# Set when this process is to end: the sockets close themselves, and say that they will be back.
shutting_down = threading.Event()

_GATHER = 0.03  # seconds a burst is gathered
_PACE = 0.1  # seconds between two rounds at least
_BEAT = 1.0  # seconds between two looks at the sockets
_TICK = 5.0  # seconds between two signs of life to the browsers
_LINGER = 10.0  # seconds the hub stays without a page, so that a click from page to page keeps it
_BLOCKED_MAX = 3.0  # seconds a browser may leave its socket unread
_ROWS_MAX = 500  # rows rendered in one round; beyond, pages read themselves again


class Hub:
    """Knows the open pages, renders each changed row once, gives it to all of them."""

    def __init__(self, engine: Engine, render: Renderer) -> None:
        self._views = engine.views
        self._settings = engine.settings
        self._alarms = engine.alarms
        self._outage = engine.redis_outage
        self._alarmed: list[Alarm] = []
        self._render = render
        self._lock = threading.Lock()
        self._sockets: dict[Subscriber, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None
        self._watcher: Watcher | None = None
        self._epoch, self._seq = "", 0
        self._seen = self._ticked = self._watched = 0.0  # monotonic: last look, last tick, last page
        self._down = False

    def join(self, subscriber: Subscriber, since: int, epoch: str, sever: Callable[[], None]) -> None:
        """Serve a page from the change it was made at; ``sever`` cuts its socket when it blocks.

        Raises:
            ResultStoreUnavailable: Redis does not answer.
        """
        with self._lock:
            if self._thread is None:
                self._start()
            self._sockets[subscriber] = sever
        # After joining: what changes meanwhile comes twice, which is harmless, and not never.
        self._tell(self._views.changes(since), epoch, [subscriber])

    def leave(self, subscriber: Subscriber) -> None:
        """Forget a page."""
        with self._lock:
            self._sockets.pop(subscriber, None)

    def _start(self) -> None:
        mark = self._views.change_mark()  # before the first page is served, or changes would fall in between
        self._epoch, self._seq, self._watched = mark.epoch, mark.seq, time.monotonic()
        self._thread = threading.Thread(target=self._run, name="yadtq-live", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._wanted():
            self._round()
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None

    def _wanted(self) -> bool:
        with self._lock:
            if self._sockets:
                self._watched = time.monotonic()
            elif time.monotonic() - self._watched > _LINGER:
                self._thread = None
                return False
            return True

    def _round(self) -> None:
        try:
            woken = self._pause(min(self._settings.live_poll, _BEAT))
            if woken:
                time.sleep(max(_GATHER, self._seen + _PACE - time.monotonic()))
            if woken or time.monotonic() - self._seen >= self._settings.live_poll:
                self._look()
            self._answered()
        except ResultStoreUnavailable as error:
            self._lost(error)
        except Exception:
            log.exception("the live pages skipped a round; they go on")
            time.sleep(_BEAT)
        self._sever_blocked()

    def _pause(self, seconds: float) -> bool:
        """Whether a notification ended the pause."""
        if not self._settings.live_notifications:
            time.sleep(seconds)
            return False
        if self._watcher is None:
            self._watcher = self._views.watch_changes()
        return self._watcher.wait(seconds)

    def _look(self) -> None:
        changes = self._views.changes(self._seq)
        everyone = self._everyone()
        if changes.seq != self._seq or changes.epoch != self._epoch:
            self._tell(changes, self._epoch, everyone)
        self._epoch, self._seq, self._seen = changes.epoch, changes.seq, time.monotonic()

    def _tell(self, changes: Changes, epoch: str, subscribers: list[Subscriber]) -> None:
        if changes.epoch != epoch or not changes.complete:
            for subscriber in subscribers:
                subscriber.signal("resync")
            return
        lists = [subscriber for subscriber in subscribers if subscriber.view == "tasks"]
        if lists and changes.tasks:
            self._tell_lists(changes, lists)
        for subscriber in subscribers:
            if subscriber.view != "tasks" and _concerns(changes, subscriber):
                subscriber.signal("refresh")

    def _tell_lists(self, changes: Changes, lists: list[Subscriber]) -> None:
        if len(changes.tasks) > _ROWS_MAX:
            for subscriber in lists:
                subscriber.signal("resync")
            return
        rows = self._render(self._views.tasks_by_id(changes.tasks).values())
        counts = {str(status): count for status, count in self._views.counts().items()}
        for subscriber in lists:
            subscriber.rows(rows, counts, changes.seq)

    def _answered(self) -> None:
        if self._down:
            self._down = False
            self._signal("up")
            self._signal("resync")  # whatever happened meanwhile, the pages read themselves again
        self._outage.up()
        if time.monotonic() - self._ticked >= _TICK:
            self._ticked = time.monotonic()
            alarms = self._alarms.current() if self._everyone() else self._alarmed
            self._signal("tick" if alarms == self._alarmed else "refresh")
            self._alarmed = alarms

    def _lost(self, error: ResultStoreUnavailable) -> None:
        self._outage.down(str(error))
        self._down = True
        self._signal("down")
        time.sleep(_BEAT)

    def _sever_blocked(self) -> None:
        with self._lock:
            sockets = list(self._sockets.items())
        for subscriber, sever in sockets:
            if subscriber.blocked_for() > _BLOCKED_MAX:
                sever()

    def _signal(self, word: str) -> None:
        for subscriber in self._everyone():
            subscriber.signal(word)

    def _everyone(self) -> list[Subscriber]:
        with self._lock:
            return list(self._sockets)


def _concerns(changes: Changes, subscriber: Subscriber) -> bool:
    if subscriber.view == "task":
        return subscriber.subject in changes.tasks
    if subscriber.view == "workers":
        return bool(changes.workers)
    return bool(changes.tasks or changes.workers or changes.queues)
