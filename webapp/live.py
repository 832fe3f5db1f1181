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

from webapp.concern import VIEWS
from webapp.drawing import Rows
from webapp.ear import Ear
from webapp.subscriber import News, Subscriber
from webapp.turns import REFRESH, RESYNC, Turns
from yadtq.errors import ResultStoreUnavailable

if TYPE_CHECKING:
    from webapp.alarms import Alarm
    from webapp.drawing import Draw
    from webapp.engine import Engine
    from yadtq.core.yadtq_views import Changes

log = logging.getLogger(__name__)

# Set when this process is to end: the sockets close themselves, and say that they will be back.
shutting_down = threading.Event()

_GATHER = 0.03  # seconds a burst is gathered
_PACE = 0.1  # seconds between two rounds at least
_BEAT = 1.0  # seconds between two looks at the sockets
_TICK = 5.0  # seconds between two signs of life to the browsers, and between two looks at their sessions
_LINGER = 5.0  # seconds the hub stays without a page, so that a click from page to page keeps it
_WATCH = 0.5  # seconds between two looks of the watchdog
_BLOCKED_MAX = 3.0  # seconds a browser may leave its socket unread
_HUNG = 15.0  # seconds without a round after which the hub is given up; a dead Redis costs 3
_NEW_MAX = 20  # tasks not shown that are drawn for a list in one round; of more, their number is told
_MISSED_MAX = 200  # changes that a page coming back is told one by one


class Hub:
    """Knows the open pages, draws each changed row once, gives it to all that show it."""

    def __init__(self, engine: Engine, draw: Draw) -> None:
        self._views = engine.views
        self._accounts = engine.accounts
        self._settings = engine.settings
        self._alarms = engine.alarms
        self._outage = engine.redis_outage
        self._alarmed: list[Alarm] = []
        self._repeat = False  # alarms changed at the last tick
        self._rows = Rows(draw)
        self._turns = Turns()
        self._lock = threading.Lock()
        self._sockets: dict[Subscriber, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None
        self._epoch, self._seq = "", 0
        self._seen = self._ticked = self._watched = self._round_at = 0.0  # monotonic: last look, tick, page, round
        self._down = False

    # -- for the sockets' threads ------------------------------------------------------------------

    def join(self, subscriber: Subscriber, since: int, epoch: str, sever: Callable[[], None]) -> None:
        """Serve a page from the change it was made at; ``sever`` cuts its socket when it blocks.

        Raises:
            ResultStoreUnavailable: Redis does not answer.
        """
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._start()
            self._sockets[subscriber] = sever
        # After joining: what changes meanwhile comes twice, which is harmless, and not never.
        changes = self._views.changes(since, _MISSED_MAX)
        subscriber.signal("tick")  # the page's proof that messages come through
        if changes.epoch != epoch or not changes.complete:
            subscriber.signal(RESYNC, seq=changes.seq, epoch=changes.epoch)
        elif VIEWS[subscriber.view].rows:
            self._tell_lists(changes.tasks, changes.seq, [subscriber])
        elif VIEWS[subscriber.view].concerned(changes, subscriber.subject):
            subscriber.signal(REFRESH, seq=changes.seq, epoch=changes.epoch)

    def show(self, subscriber: Subscriber, ids: Iterable[str], *, again: bool) -> None:
        """A list tells which rows it shows: it is sent those that it did not show before, or all ``again``, as they are now.

        Raises:
            ResultStoreUnavailable
        """
        shows = frozenset(ids)
        before = shows if subscriber.shows is None else subscriber.shows
        subscriber.shows = shows  # before it reads: what changes from now on is told anyway
        self._tell_lists(set(shows if again else shows - before), 0, [subscriber])

    def leave(self, subscriber: Subscriber) -> None:
        """Forget a page."""
        with self._lock:
            self._sockets.pop(subscriber, None)

    def _start(self) -> None:
        mark = self._views.change_mark()  # before the first page is served, or changes would fall in between
        self._epoch, self._seq = mark.epoch, mark.seq
        self._watched = self._round_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="yadtq-live", daemon=True)
        self._thread.start()
        threading.Thread(target=self._watch, args=[self._thread], name="yadtq-live-watch", daemon=True).start()

    # -- the hub's thread --------------------------------------------------------------------------

    def _run(self) -> None:
        ear = Ear(self._views, self._settings)
        try:
            ear.check()
            while self._wanted():
                self._round(ear)
        finally:
            ear.close()

    def _wanted(self) -> bool:
        with self._lock:
            if self._thread is not threading.current_thread():
                return False  # it was given up, and has come back too late
            self._round_at = time.monotonic()
            if self._sockets:
                self._watched = self._round_at
            elif self._round_at - self._watched > _LINGER:
                self._thread = None
                return False
            return True

    def _round(self, ear: Ear) -> None:
        try:
            woken = ear.wait(self._turns.wait(time.monotonic(), min(self._settings.live_poll, _BEAT)))
            if woken:
                time.sleep(max(_GATHER, self._seen + _PACE - time.monotonic()))
            if woken or time.monotonic() - self._seen >= self._settings.live_poll:
                self._look()
            self._answered(ear)
            self._take_turns()
        except ResultStoreUnavailable as error:
            self._lost(error)
        except Exception:
            log.exception("the live pages skipped a round; they go on")
            self._turns.mark(self._everyone(), RESYNC)  # what the round had for them may be lost
            time.sleep(_BEAT)

    def _look(self) -> None:
        changes, everyone = self._views.changes(self._seq), self._everyone()
        epoch, seq = self._epoch, self._seq
        # Before it is told: a change that cannot be told must not be met again in every round.
        self._epoch, self._seq, self._seen = changes.epoch, changes.seq, time.monotonic()
        if changes.epoch != epoch or not changes.complete:
            self._turns.mark(everyone, RESYNC)
        elif changes.seq != seq:
            self._tell(changes, everyone)

    def _tell(self, changes: Changes, everyone: list[Subscriber]) -> None:
        concerned = [page for page in everyone if VIEWS[page.view].concerned(changes, page.subject)]
        lists = [page for page in concerned if VIEWS[page.view].rows]
        self._tell_lists(changes.tasks, changes.seq, lists)
        self._turns.mark((page for page in concerned if not VIEWS[page.view].rows), REFRESH)

    def _tell_lists(self, changed: set[str], seq: int, lists: list[Subscriber]) -> None:
        if not lists or not changed:
            return
        wanted = {page: _wanted_rows(page, changed) for page in lists}
        found = self._views.tasks_by_id(set().union(*(ids for ids, _ in wanted.values())), results=False)
        rows = self._rows.of(found.values())
        counts = {str(status): count for status, count in self._views.counts().items()}
        for page, (ids, more) in wanted.items():
            shown = {task_id: rows[task_id] for task_id in ids if task_id in rows}
            page.news(News(shown, frozenset(ids - found.keys()), more, counts, self._epoch, seq))

    def _take_turns(self) -> None:
        for page, word in self._turns.take(self._everyone(), time.monotonic()).items():
            page.signal(word, seq=self._seq, epoch=self._epoch)

    def _answered(self, ear: Ear) -> None:
        if self._down:
            self._down = False
            ear.check()
            self._signal("up")
            self._turns.mark(self._everyone(), RESYNC)  # whatever happened meanwhile
        self._outage.up()
        if time.monotonic() - self._ticked >= _TICK:
            self._ticked = time.monotonic()
            self._sign_out(self._everyone())
            self._tick(self._everyone())

    def _sign_out(self, everyone: list[Subscriber]) -> None:
        """End the pages whose sessions are over: a socket was asked who it is only when it was opened."""
        over = self._accounts.ended_sessions({page.secret for page in everyone})
        for page in everyone:
            if page.secret in over:
                page.end(signed_out=True)

    def _tick(self, everyone: list[Subscriber]) -> None:
        alarms = self._alarms.current() if everyone else self._alarmed
        changed, self._alarmed = alarms != self._alarmed, alarms
        if changed or self._repeat:  # twice: the other processes learn of an alarm a moment later or earlier
            self._turns.mark(everyone, REFRESH)
        self._repeat = changed
        self._signal("tick")

    def _lost(self, error: ResultStoreUnavailable) -> None:
        self._outage.down(str(error))
        self._down = True
        self._signal("down")
        time.sleep(_BEAT)

    def _signal(self, word: str) -> None:
        for subscriber in self._everyone():
            subscriber.signal(word)

    def _everyone(self) -> list[Subscriber]:
        with self._lock:
            return list(self._sockets)

    # -- the watchdog's thread ---------------------------------------------------------------------

    def _watch(self, hub: threading.Thread) -> None:
        """Cut sockets that block, whatever the hub waits for; and never let the hub end or hang unseen."""
        broken = False
        while self._thread is hub:
            hub.join(_WATCH)
            with self._lock:
                sockets = list(self._sockets.items())
                broken = self._thread is hub and (not hub.is_alive() or time.monotonic() - self._round_at > _HUNG)
                if broken:
                    self._thread = None
                    self._sockets.clear()
            for subscriber, sever in sockets:
                if broken:
                    subscriber.end()
                elif subscriber.blocked_for() > _BLOCKED_MAX:
                    sever()
        if broken:
            log.critical(
                "the thread of the live pages %s; they connect anew", "hangs" if hub.is_alive() else "has died"
            )


def _wanted_rows(page: Subscriber, changed: set[str]) -> tuple[set[str], int]:
    """The rows to draw for a list, and how many other tasks changed that it may want."""
    shown = changed if page.shows is None else changed & page.shows
    new = changed - shown if page.wants_new else set()
    return (shown | new, 0) if len(new) <= _NEW_MAX else (shown, len(new))
