"""Housekeeping: what is due, what was not published, whose worker died, what Kafka has lost.

Every worker keeps house, without a leader: each step is one bounded script, so that several at once are harmless.
"""

from __future__ import annotations

import logging
import random
import threading
import time

from yadtq.core.yadtq_broker import Broker, Record
from yadtq.core.yadtq_codec import Stamp, UnknownKey
from yadtq.core.yadtq_lease import Lease
from yadtq.core.yadtq_publisher import Publisher
from yadtq.core.yadtq_result_db import ResultStore
from yadtq.core.yadtq_views import Views
from yadtq.errors import BrokerUnavailable, RejectedRecord, ResultStoreUnavailable

logger = logging.getLogger(__name__)

BATCH = 200  # tasks a step moves at most
SWEEPS = 10  # batches one sweep publishes at most: behind a long outbox, the rest of the house would wait
DUE_EVERY = 0.5  # seconds; due and sweep
REAP_EVERY = 2.5  # seconds
AUDIT_EVERY = 60.0  # seconds
MOST_TOLD = 10_000  # tasks of an unknown key that are told of, each once


class Keeper:
    """One thread that keeps house until stopped."""

    def __init__(self, store: ResultStore, broker: Broker, lease: Lease, publisher: Publisher) -> None:
        self._store = store
        self._broker = broker
        self._lease = lease
        self._publisher = publisher
        self._views = Views(store)
        self._scale = store.settings.time_scale
        self._told: set[str] = set()  # tasks of an unknown key; keys become known with a restart only
        self._stop = threading.Event()

    def stop(self) -> None:
        self._stop.set()

    def loop(self) -> None:
        next_reap = next_audit = time.monotonic() + REAP_EVERY * self._scale
        while not self._stop.wait(DUE_EVERY * random.uniform(0.5, 1.0) * min(1.0, self._scale * 4)):
            now = time.monotonic()
            try:
                self.move_due()
                self.sweep()
                if now >= next_reap:
                    next_reap = now + REAP_EVERY * self._scale * random.uniform(0.7, 1.3)
                    self.reap()
                if now >= next_audit:
                    next_audit = now + AUDIT_EVERY * self._scale * random.uniform(0.7, 1.3)
                    self.audit()
            except ResultStoreUnavailable as error:
                logger.debug("housekeeping waits: %s", error)  # the heartbeat tells of the outage
            except BrokerUnavailable as error:
                logger.debug("the audit waits: %s", error)

    def move_due(self) -> None:
        while self._store.due(BATCH) >= BATCH and not self._stop.is_set():
            pass

    def sweep(self) -> None:
        """Publish what is in the outbox past its check time, or some of it; little while Kafka is away."""
        for _ in range(1 if self._broker.outage.sentence else SWEEPS):
            if self._stop.is_set() or not self._sweep_batch():
                return

    def _sweep_batch(self) -> bool:
        """Publish one batch; False where there is no more of it, or no room for more."""
        reply = self._store.sweep(BATCH)
        items = reply.items
        records = [self._record(items[i : i + 5], reply.now) for i in range(0, len(items), 5)]
        fit = self._publisher.publish([record for record in records if record is not None])
        return fit and len(records) >= BATCH

    def _record(self, row: list[bytes], now: int) -> Record | None:
        """An envelope as a record of its present gen; the signature is checked before a new one is made."""
        task_id, gen, queue, handbacks, envelope = row
        topic = self._broker.topic_of(queue.decode())
        try:
            body = self._broker.codec.unseal(topic, envelope)
            partition = self._other_partition(topic, body) if int(handbacks) else None
        except UnknownKey as error:
            self._tell_unknown(task_id.decode(), error)
            return None
        except RejectedRecord as error:
            logger.error(
                "the envelope of task %s in Redis cannot be trusted (%s); it is not published", task_id.decode(), error
            )
            why = f"its arguments cannot be trusted: {error}"
            self._store.reject_envelope(task_id.decode(), queue.decode(), envelope, why)
            return None
        header = self._broker.codec.header(topic, Stamp(int(gen), now), body)
        return Record(task_id.decode(), int(gen), topic, body, header, now, partition)

    def _tell_unknown(self, task_id: str, error: UnknownKey) -> None:
        """The outbox comes back to it every 20 seconds; once is enough."""
        if task_id not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(task_id)
            logger.error("task %s is not published from here: it is %s", task_id, error)

    def _other_partition(self, topic: str, body: bytes) -> int | None:
        """For a task handed back as unknown: a partition of a worker that knows it, else any; raises RejectedRecord."""
        name = self._broker.codec.name_of(body)
        known = [
            partition
            for worker in self._views.workers()
            if worker.online and any(function.name == name for function in worker.functions)
            for partition in worker.partitions.get(topic, ())
        ]
        if known:
            return random.choice(known)
        try:
            return random.randrange(self._broker.partition_count(topic))
        except BrokerUnavailable:
            return None  # by its id, then

    def reap(self) -> None:
        for inc in self._store.reap(self._lease.inc):
            logger.warning(
                "worker %s has not answered for %g s: its tasks go back to their queues", inc, self._store.offline_after
            )

    def audit(self) -> None:
        """Queued tasks whose record is behind the committed offset, or gone with its retention or its topic, are published again."""
        suspects = self._store.audit(BATCH)
        if not suspects:
            return
        topics = {queue: self._broker.topic_of(queue) for _, _, queue, _, _ in suspects}
        positions = self._broker.group_positions(sorted(set(topics.values())))
        gone = []
        for task_id, gen, queue, partition, offset in suspects:
            first, committed, end = positions.get(
                (topics[queue], partition if partition is not None else -1), (0, 0, 0)
            )
            if offset is None or not max(first, committed) <= offset < end:
                gone.append((task_id, gen))
        if gone:
            logger.warning(
                "%d queued tasks had no record left in Kafka and are published again", len(self._store.requeue(gone))
            )
