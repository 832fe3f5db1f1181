"""One incarnation of a worker: its id and tokens, what it holds, and which Redis it may believe.

Every answer of Redis carries an era (data set and run). An answer of another era than the last one is
not used: Redis has gone back, or is empty. And a confirmation counts only once the same era has answered
again two seconds later, because Redis writes to disk once a second.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable

from yadtq.core.yadtq_delivery import Delivery
from yadtq.core.yadtq_outage import OutageLog
from yadtq.core.yadtq_result_db import Reply
from yadtq.errors import ResultStoreUnavailable

logger = logging.getLogger(__name__)

SETTLE_AFTER = 2.0  # seconds
REMEMBER = 5.0  # seconds before Redis' last answer in which a finished run can still be asserted again
REMEMBER_AT_MOST = 20_000  # runs; beyond these bounds a Redis that goes back has some of them run again
REMEMBER_BYTES = 64 * 1024 * 1024  # of their bodies and results


class EraChanged(Exception):
    """An answer came from another era, which is the argument; it must not be used."""


class Abandoned(Exception):
    """The worker ends while a call was still unanswered."""


class Lease:
    """The worker's identity and memory; thread-safe."""

    def __init__(self, settled: Callable[[list[Delivery]], None], recover: Callable[[str], None]) -> None:
        self._settled = settled  # told of records that need no longer be kept
        self._recover = recover  # called with a new era; returns when the worker has adapted to it
        self._outage = OutageLog(
            logger, "Redis", "no task is started until it answers, those running go on and their outcomes are kept"
        )
        self.abandon = threading.Event()  # set when unanswered calls shall be given up
        self._lock = threading.Lock()
        self._unsettled: deque[tuple[float, list[Delivery]]] = deque()
        self._recent: deque[tuple[float, int, list[Delivery]]] = deque()  # when, how many bytes, which
        self._recent_count = self._recent_bytes = 0
        self._answered_at = 0.0  # monotonic seconds, when what was last answered had been asked; in the present era
        self.held: dict[str, Delivery] = {}  # by token: claim asked for, waiting, running, or finish not answered
        self.era: str | None = None
        self._leaving = False  # another era is being told what was held and remembered in this one
        self._entered_at = 0.0  # monotonic seconds; it had been told all by then
        self._counter = itertools.count(1)  # never begins anew: a claim may be made while the incarnation changes
        self.renew()

    def renew(self) -> None:
        """Become a new incarnation: the old one was declared dead."""
        self.inc = uuid.uuid4().hex[:12]

    def new_token(self) -> str:
        """A token for one run: never used before, ascending within the incarnation."""
        return f"{self.inc}:{next(self._counter)}"

    def issued(self, token: str) -> bool:
        """Whether the present incarnation made this token."""
        return token.startswith(f"{self.inc}:")

    def ask(self, call: Callable[[], Reply]) -> Reply:
        """Repeat an idempotent call until Redis has answered it in the present era.

        Raises:
            Abandoned: the worker ends.
        """
        pause = 0.05
        while True:
            sent_at = time.monotonic()
            try:
                reply = self.believe(call(), sent_at)
                self._outage.up()
                return reply
            except EraChanged as change:
                self._recover(str(change))
            except ResultStoreUnavailable as error:
                self._outage.down(str(error))
                if self.abandon.wait(pause):
                    raise Abandoned from error
                pause = min(pause * 2, 1.0)

    def believe(self, reply: Reply, sent_at: float) -> Reply:
        """The reply, if it is of the present era; settles what it confirms.

        Raises:
            EraChanged: it is of another era.
        """
        if self.era is None:
            self.era = reply.era
        if reply.era != self.era or sent_at < self._entered_at:  # also one given before that era had been told all
            raise EraChanged(reply.era)
        self._answered_at = sent_at  # all that is known: this process may have been stopped since
        with self._lock:  # here as well: an idle worker finishes nothing that would push them out
            self._forget_finished(self._answered_at - REMEMBER)
        self._settle(sent_at - SETTLE_AFTER)
        return reply

    def _settle(self, until: float) -> None:
        ready: list[Delivery] = []
        with self._lock:
            while self._unsettled and self._unsettled[0][0] <= until:
                ready += self._unsettled.popleft()[1]
        if ready:
            self._settled(ready)

    def confirmed(self, deliveries: list[Delivery]) -> None:
        """Redis has just answered that these records are no longer needed."""
        with self._lock:
            self._unsettled.append((time.monotonic(), deliveries))

    def granted(self, runs: list[Delivery], era: str) -> bool:
        """Redis has just given these runs, in that era: from now on they are told to any other.

        False where it has gone back since: another one knows nothing of them, and is to be asked for them.
        """
        with self._lock:
            if self._leaving or era != self.era:
                return False
            now = time.monotonic()
            for delivery in runs:
                delivery.claimed_at = now
            return True

    def finished(self, deliveries: list[Delivery], era: str) -> bool:
        """Redis has just accepted these outcomes, in that era: they are not held any more, but remembered for a while.

        False where it has gone back since: they are held as before, and to be finished again.
        """
        now = time.monotonic()
        with self._lock:
            if self._leaving or era != self.era:
                return False
            self.forget(delivery.token for delivery in deliveries)
            size = sum(map(_bytes_of, deliveries))
            self._recent.append((now, size, deliveries))
            self._recent_count += len(deliveries)
            self._recent_bytes += size
            self._forget_finished(self._answered_at - REMEMBER)
            return True

    def _forget_finished(self, until: float) -> None:
        """Those finished before that, and the oldest of those that are too many or too large."""
        while self._recent and (
            self._recent[0][0] < until or self._recent_count > REMEMBER_AT_MOST or self._recent_bytes > REMEMBER_BYTES
        ):
            _, size, deliveries = self._recent.popleft()
            self._recent_count -= len(deliveries)
            self._recent_bytes -= size

    def drop_unsettled(self) -> None:
        """The era has changed: what the old one confirmed proves nothing, its records are read again."""
        with self._lock:
            self._unsettled.clear()

    def take_recent(self) -> list[Delivery]:
        """The runs that Redis may have forgotten, by its last answer before it went away; they are to be finished again.

        However long it was away: what it loses is what it was told just before. Until :meth:`enter`, no run is granted or
        finished: it would be neither among these nor among those held.
        """
        since = self._answered_at - REMEMBER
        with self._lock:
            self._leaving = True
            found = [delivery for at, _, deliveries in self._recent if at >= since for delivery in deliveries]
            self._recent.clear()
            self._recent_count = self._recent_bytes = 0
        return found

    def enter(self, era: str) -> None:
        """This era has been told all that was held and remembered; its answers are believed."""
        with self._lock:
            self._entered_at = time.monotonic()  # before the era: answers are judged by both, without the lock
            self.era, self._leaving = era, False

    @property
    def settle_due(self) -> bool:
        """Whether an answer of Redis would settle something now."""
        return self.settles_by(time.monotonic())

    def settles_by(self, moment: float) -> bool:
        """Whether an answer asked for before then (monotonic seconds) could settle something."""
        with self._lock:
            return bool(self._unsettled) and self._unsettled[0][0] <= moment - SETTLE_AFTER

    def forget(self, tokens: Iterable[str]) -> None:
        """These runs are not held any more."""
        for token in tokens:
            self.held.pop(token, None)


def _bytes_of(delivery: Delivery) -> int:
    return len(delivery.body) + (len(delivery.outcome.result) if delivery.outcome else 0)
