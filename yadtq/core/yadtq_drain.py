"""A worker's end: what runs may finish within the grace time, the rest is handed back, what is done is committed."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from yadtq.core.yadtq_ahead import let_go, release
from yadtq.core.yadtq_claimer import Claimer
from yadtq.core.yadtq_delivery import Delivery
from yadtq.core.yadtq_lease import Lease
from yadtq.core.yadtq_polling import Poller
from yadtq.core.yadtq_pools import Pool
from yadtq.core.yadtq_result_db import ResultStore
from yadtq.errors import ResultStoreUnavailable

logger = logging.getLogger(__name__)

TRY_AGAIN = 0.5  # seconds until Redis is told again what was not begun
PATIENCE = 4.5  # seconds the last hand back may take: a second try after one that Redis left unanswered


class Drain:
    """Empties one worker; ``abort`` ends that at once."""

    def __init__(
        self,
        store: ResultStore,
        claimer: Claimer,
        pool: Pool[Delivery, Any],
        lease: Lease,
        poller: Poller,
        name: str,
        abort: threading.Event,
    ) -> None:
        self._store = store
        self._claimer = claimer
        self._pool = pool
        self._lease = lease
        self._poller = poller
        self._name = name
        self._abort = abort
        self._unreturned: list[Delivery] = []  # taken out of the pool, which Redis has not been told yet
        self._try_at = 0.0  # monotonic seconds

    def run(self, grace: float) -> None:
        """Go on polling and beating while running tasks finish, then hand the rest back at once."""
        self._claimer.stop()
        deadline = time.monotonic() + grace

        def over() -> bool:
            self._hand_back_unbegun()  # each time: a claim may just have been under way
            return self._abort.is_set() or time.monotonic() > deadline or not self._lease.held

        self._poller.poll_until(over)
        if self._lease.held:
            self._pool.abandon()  # first, so that nothing of it goes on where it can be ended
            # Not a claim that has not been answered: what comes of it goes back when the worker leaves.
            late = [delivery for delivery in self._lease.held.copy().values() if delivery.claimed_at]
            logger.warning("worker %s hands back %d tasks that did not finish in time", self._name, len(late))
            self._hand_back(late)
        self._settle_last(deadline + 1.5)

    def _hand_back_unbegun(self) -> None:
        """One try at each look: between two, the poll loop stays a member of its group."""
        self._unreturned += self._pool.take_unbegun()
        if self._unreturned and time.monotonic() >= self._try_at:
            try:
                release(self._store, self._lease, self._unreturned)
            except ResultStoreUnavailable as error:
                logger.debug("what was not begun is handed back later: %s", error)
                self._try_at = time.monotonic() + TRY_AGAIN
                return
            let_go(self._lease, self._unreturned)
            self._unreturned = []

    def _hand_back(self, deliveries: list[Delivery]) -> None:
        try:
            self._store.patiently(lambda: release(self._store, self._lease, deliveries), PATIENCE)
        except ResultStoreUnavailable as error:
            logger.warning("%s; what was not handed back is moved on 30 s from now", error)
            return
        let_go(self._lease, deliveries)

    def _settle_last(self, latest: float) -> None:
        """What Redis has just confirmed may be committed two seconds later; worth the wait, else it is all read again.

        Not what was handed back at the end of the grace time: its new record outdoes the one that is read again.
        """
        deadline = min(latest, time.monotonic() + 3.0)
        self._poller.poll_until(
            lambda: self._abort.is_set() or not self._lease.settles_by(deadline) or time.monotonic() > deadline
        )
        self._poller.commit()
