"""The poll loop: the only user of the Kafka consumer. It polls, buffers and commits, runs nothing and waits for nothing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from yadtq.core.yadtq_broker import Broker
from yadtq.core.yadtq_consumer import TaskConsumer
from yadtq.core.yadtq_intake import Intake
from yadtq.core.yadtq_lease import Lease
from yadtq.errors import BrokerUnavailable

logger = logging.getLogger(__name__)

POLL_FOR = 0.05  # seconds one poll waits for records
COMMIT_EVERY = 0.5  # seconds
PAUSE = 0.5  # seconds until Kafka is asked again after it did not answer


class Poller:
    """A member of the workers' group, as long as the worker is to take tasks.

    ``gives_way`` says why its partitions are to go to others ("has been paused for long"), or ''.
    """

    def __init__(
        self,
        broker: Broker,
        topics: Sequence[str],
        intake: Intake,
        lease: Lease,
        name: str,
        stop: threading.Event,
        gives_way: Callable[[], str],
    ) -> None:
        self._broker = broker
        self._topics = list(topics)
        self._intake = intake
        self._lease = lease
        self._name = name
        self._stop = stop
        self._gives_way = gives_way
        self._held_off = False  # paused because the buffer is full
        self.consumer: TaskConsumer | None = None
        self.assigned: set[tuple[str, int]] = set()
        self.ready = threading.Event()  # set once there were partitions
        self.rewind = threading.Event()  # set to read again from the committed offsets

    def join(self) -> None:
        """Become a member of the group; raises BrokerUnavailable."""
        self.consumer = self._broker.open_consumer(self._topics, self._intake)
        self._broker.outage.up()

    def leave(self) -> None:
        """Let others take over at once; raises BrokerUnavailable, and is out of the group all the same."""
        consumer, self.consumer = self.consumer, None
        try:
            if consumer is not None:
                consumer.close()
        finally:
            self._intake.keep_only(set())
            self.assigned = set()

    def poll_until(self, over: Callable[[], bool]) -> None:
        """Poll and commit until ``over()``."""
        next_commit = time.monotonic() + COMMIT_EVERY
        while not over():
            try:
                self.step()
            except BrokerUnavailable as error:
                self._broker.outage.down(str(error))
                time.sleep(PAUSE)  # not cut short by a stop: the drain polls on
            if time.monotonic() >= next_commit:
                next_commit = time.monotonic() + COMMIT_EVERY
                self.commit()

    def step(self) -> None:
        """One poll, or one change of membership; raises BrokerUnavailable."""
        if self.consumer is None:
            self._stay_out()
        elif why := self._gives_way():
            logger.info("worker %s %s; others take its partitions over", self._name, why)
            self.commit()
            self.leave()
        elif self.consumer.rebalance_is_stuck():
            logger.warning("worker %s is stuck in a rebalance of its group; it leaves and joins again", self._name)
            self.leave()
        else:
            self._poll(self.consumer)

    def _stay_out(self) -> None:
        """Join when it is time; a worker that stops has nothing to join for."""
        if self._stop.is_set() or self._gives_way():
            time.sleep(POLL_FOR)
        else:
            self.join()

    def _poll(self, consumer: TaskConsumer) -> None:
        intake = self._intake
        if self.rewind.is_set():
            self.rewind.clear()
            self._go_back(consumer)
        full = not intake.room.is_set()
        if full:  # stay a member of the group, take nothing
            consumer.pause(consumer.assignment())
        elif self._held_off:
            consumer.resume(consumer.assignment() - intake.paused)
        self._held_off = full
        losses = intake.losses
        # Also when full: the answer to a join is heard within a poll, or the next poll asks for another join. With everything
        # paused it waits by itself; partitions that come meanwhile give one poll of records, then they are paused too.
        batches = consumer.poll(POLL_FOR)
        self._follow_assignment(consumer)
        for position, records in batches.items():
            if not intake.add(position, records, losses):
                self.rewind.set()
        consumer.pause(intake.to_pause())
        consumer.resume(intake.to_resume())

    def _go_back(self, consumer: TaskConsumer) -> None:
        """Drop what is buffered and read it again; no commit may come between the two."""
        self._intake.reset()
        try:
            consumer.rewind()
        except BrokerUnavailable:
            self.rewind.set()
            raise
        consumer.resume(consumer.assignment())

    def _follow_assignment(self, consumer: TaskConsumer) -> None:
        assigned = consumer.assignment()
        if assigned != self.assigned:
            gained, dropped = len(assigned - self.assigned), len(self.assigned - assigned)
            logger.info("worker %s has %d partitions (%d new, %d given up)", self._name, len(assigned), gained, dropped)
            self.assigned = assigned
            self._intake.keep_only(assigned)
            self._broker.outage.up()
            if assigned:
                self.ready.set()

    def commit(self) -> None:
        """Commit what is done; what runs long is let go of first."""
        for delivery in self._intake.detach(list(self._lease.held.values())):
            logger.info("task %s runs long; its partition goes on without it", delivery.task and delivery.task.id)
        offsets = self._intake.commits()
        if offsets and self.consumer is not None and not self.rewind.is_set():
            self.consumer.commit(offsets, self._intake.committed)
