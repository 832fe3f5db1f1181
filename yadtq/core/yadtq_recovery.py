"""What a worker does when Redis has gone back or is empty, and when it was itself declared dead.

Redis has gone back: what it confirmed proves nothing any more. The worker beats, and asserts again what it runs and
what it finished in the last seconds. Then it reads its records again from the committed offsets, and finishes the
finished ones again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from yadtq.core.yadtq_broker import Broker
from yadtq.core.yadtq_claimer import claim_item, lost_row
from yadtq.core.yadtq_delivery import Delivery
from yadtq.core.yadtq_heartbeat import Heartbeat
from yadtq.core.yadtq_lease import Abandoned, Lease
from yadtq.core.yadtq_portions import portions
from yadtq.core.yadtq_result_db import Reply, ResultStore
from yadtq.errors import ResultStoreUnavailable

logger = logging.getLogger(__name__)

BATCH = 200  # runs told at once, at most


class Recovery:
    """Adapts one worker to a new era, or to a new incarnation."""

    def __init__(
        self,
        store: ResultStore,
        broker: Broker,
        name: str,
        rewind: Callable[[], None],
        finish_again: Callable[[Delivery], None],
    ) -> None:
        self._store = store
        self._broker = broker
        self._name = name
        self._rewind = rewind  # drop buffers, read again from the committed offsets
        self._finish_again = finish_again
        self._lock = threading.Lock()
        self._untold: list[Delivery] = []  # finished just before Redis changed, which no new era has been told yet
        self.lease: Lease  # set once by the worker: lease and heartbeat need this object first
        self.heartbeat: Heartbeat

    def fenced(self, inc: str) -> None:
        """The incarnation was declared dead while it was away: its tasks belong to others now."""
        with self._lock:
            if self.lease.inc != inc:
                return  # another thread has seen to it
            logger.warning(
                "worker %s was declared dead while it was away; it goes on as a new one, late outcomes are dropped",
                self._name,
            )
            self.lease.renew()
            self._rewind()

    def new_era(self, era: str) -> None:
        """Redis answers from another era; returns when the worker has adapted. Raises Abandoned."""
        with self._lock:
            if self.lease.era == era:
                return  # another thread has seen to it
            while True:
                logger.warning(
                    "Redis has restarted, gone back or been emptied: its state is checked against Kafka and what runs here"
                )
                self.lease.drop_unsettled()
                # Kept: Redis may change once more, or a worker that ends may stop waiting, before it has heard them.
                self._untold += self.lease.take_recent()
                try:
                    self._assert_again(era, self._untold)
                    self._untold = []
                    return
                except _OtherEra as change:
                    era = str(change)

    def _assert_again(self, era: str, recent: list[Delivery]) -> None:
        """Tell the new era what this worker runs and has just finished; then it is believed."""
        inc = self.lease.inc
        reply = self._ask(era, lambda: self._store.beat(inc, *self.heartbeat.message()))
        if reply.items[0] == b"FENCED":
            self.lease.renew()
            inc = self.lease.inc
            self._ask(era, lambda: self._store.beat(inc, *self.heartbeat.message()))
        ended = set(recent)
        running = [delivery for delivery in self.lease.held.copy().values() if delivery.claimed_at]
        # Not what an earlier incarnation held: it was declared dead, and a row under its token has no reaper.
        own = [delivery for delivery in recent + running if self.lease.issued(delivery.token)]
        runs = _newest_of_each_task(own)
        finished = [delivery for delivery in runs if delivery in ended]
        for batch in portions(runs, BATCH, lambda run: len(run.body)):
            self._claim_again(era, inc, batch)
        self.lease.held |= {delivery.token: delivery for delivery in finished}
        self._rewind()  # not before: a record read again would be claimed as if it had not run here
        self.lease.enter(era)
        for delivery in finished:
            self._finish_again(delivery)

    def _claim_again(self, era: str, inc: str, runs: list[Delivery]) -> None:
        items = [claim_item(self._broker, delivery, with_envelope=True) for delivery in runs]
        answers = self._ask(era, lambda: self._store.claim(inc, self._name, items, reasserts=True)).items
        if answers == [b"FENCED"]:
            return  # the finishes will hear it too
        lost = [number for number, answer in enumerate(answers) if answer == b"LOST"]
        if lost:
            self._ask(era, lambda: self._store.rebuild([lost_row(self._broker, runs[number]) for number in lost]))
            self._ask(
                era, lambda: self._store.claim(inc, self._name, [items[number] for number in lost], reasserts=True)
            )

    def _ask(self, era: str, call: Callable[[], Reply]) -> Reply:
        while True:
            try:
                reply = call()
            except ResultStoreUnavailable as error:
                if self.lease.abandon.wait(0.2):
                    raise Abandoned from error
                continue
            if reply.era != era:
                raise _OtherEra(reply.era)
            return reply


def _newest_of_each_task(runs: list[Delivery]) -> list[Delivery]:
    """Of a task whose attempts followed each other quickly only the last: an earlier one, told again, would make it run anew."""
    newest: dict[str, Delivery] = {}
    for delivery in runs:
        assert delivery.task is not None
        known = newest.get(delivery.task.id)
        if known is None or known.gen <= delivery.gen:
            newest[delivery.task.id] = delivery
    return list(newest.values())


class _OtherEra(Exception):
    """Redis has changed again while the worker adapted."""
