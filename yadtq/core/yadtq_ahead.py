"""How far ahead of its slots a worker claims, and what becomes of runs claimed too far ahead.

Short tasks are claimed some 20 ms ahead, so that no slot waits for Redis. When long ones come to sit in the slots, what
was claimed behind them would wait for hours here while other workers are free: it is given back to its queue.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Any

from yadtq.core.yadtq_delivery import Delivery
from yadtq.core.yadtq_lease import Lease
from yadtq.core.yadtq_pools import Pool
from yadtq.core.yadtq_result_db import Reply, ResultStore

logger = logging.getLogger(__name__)

MAX_AHEAD = 512  # runs claimed beyond the slots, at most
AHEAD_FOR = 0.02  # seconds of work to claim ahead, at the present rate
GIVE_BACK_AFTER = 2.0  # seconds a claimed run may wait for a slot


class Pace:
    """How far ahead to claim: as many runs as have lately ended within 20 ms."""

    def __init__(self) -> None:
        self._ends: deque[tuple[float, int]] = deque(maxlen=64)

    def ended(self, count: int) -> None:
        self._ends.append((time.monotonic(), count))

    def ahead(self) -> int:
        now = time.monotonic()
        recent = [(at, count) for at, count in list(self._ends) if at > now - 0.5]
        if len(recent) < 2:
            return 0
        span = max(now - recent[0][0], AHEAD_FOR)
        return min(MAX_AHEAD, int(sum(count for _, count in recent) / span * AHEAD_FOR))


class Unbegun:
    """The runs that wait for a slot; used by the claimer's thread alone."""

    def __init__(self, store: ResultStore, lease: Lease, pool: Pool[Delivery, Any]) -> None:
        self._store = store
        self._lease = lease
        self._pool = pool
        self._put = 0  # runs ever put into the pool
        self._marks: deque[tuple[int, float]] = deque()  # how many had been put, and when (monotonic seconds)

    def put(self, deliveries: list[Delivery]) -> None:
        """These were claimed: they run as soon as a slot is free."""
        for delivery in deliveries:
            self._pool.put(delivery)
        self._put += len(deliveries)
        self._marks.append((self._put, time.monotonic()))

    @property
    def oldest_waits(self) -> float:
        """Seconds for which the first of them has waited; the pool takes them in the order in which they were put."""
        backlog = self._pool.backlog
        while self._marks and self._marks[0][0] <= self._put - backlog:
            self._marks.popleft()
        if backlog and not self._marks:  # a slot has put back what it could not run
            self._marks.append((self._put, time.monotonic()))
        return time.monotonic() - self._marks[0][1] if self._marks else 0.0

    def give_back_late(self) -> None:
        """Back to their queue with all of them, once the first has waited too long. Raises Abandoned."""
        if self.oldest_waits <= GIVE_BACK_AFTER:
            return
        late = self._pool.take_unbegun()
        if late:
            logger.info("%d tasks go back to their queues: the slots here are taken by longer ones", len(late))
            self._lease.ask(lambda: release(self._store, self._lease, late))
            let_go(self._lease, late)


def release(store: ResultStore, lease: Lease, deliveries: list[Delivery]) -> Reply:
    """Queue their tasks anew; no attempt is counted. Raises ResultStoreUnavailable."""
    held = [(delivery.task.id, delivery.token) for delivery in deliveries if delivery.task is not None]
    return store.release(lease.inc, held, leave=False)


def let_go(lease: Lease, deliveries: list[Delivery]) -> None:
    """Redis has answered that they are queued anew: their records are no longer needed."""
    lease.forget(delivery.token for delivery in deliveries)
    lease.confirmed(deliveries)
